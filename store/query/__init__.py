"""Questions to a store: columns, the filter language, selections, the search for detectors and projections."""
