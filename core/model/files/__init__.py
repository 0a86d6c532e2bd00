"""The files of a model: what a folder holds (contents), and whether they change while a run reads them (file_stamps)."""
