"""Parsers and printers of the formats of this field, pure: text in, values out."""
