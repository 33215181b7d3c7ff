"""Records in the formats of other tools. One file a format; `formats` lists them."""
