"""The secrets of a site: what there is, how it is made, kept and renewed."""
