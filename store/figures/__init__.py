"""The paper's figures as numbers: per layer and model, of changed stores, and of detectors re-checked on other windows."""
