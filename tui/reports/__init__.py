"""The paper's figures as a document, of one store (sections) or of several (comparison, changes).

reading gathers what is shown of a store; figures says what a figure is, catalogue/ holds them all; findings, held_out and
about are the words around them. document is what all of it is made of, formats/ writes it.
"""
