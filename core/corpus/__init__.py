"""From text to windows: sources are read as documents, tokenised, and cut into windows of equal length.

sources   NAME=PATH: the domains that were asked for
documents the documents of files and folders; formats tells a file's format by its name, row_files and tables read rows
fields    which field of a row is the text; labels: the labelled spans of a text, and their tokens
text      bytes to clean text, long documents in parts
tokens    documents to token ids
windows   token ids to windows, and the types Corpus and Domain; window_files: windows that are token ids already
build     all of it, from sources to a Corpus
cache     tokenised windows kept between runs
"""
