"""The files of a model: what a folder holds (contents), where its weights lie in a checkpoint (stored_weights), and whether
files change while a run reads them (file_stamps).
"""
