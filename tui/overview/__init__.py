"""The paper's figures on a screen."""
