"""The paper's figures as a document, of one store or of several."""
