"""The paper's figures on a screen: screen has the keys, data what is read of a store.

figures chooses from the catalogue of reports/; grid places them, charts draws them over a layer_axis; compare draws several
stores in one figure.
"""
