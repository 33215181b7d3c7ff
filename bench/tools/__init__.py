"""Tools that few runs need, a folder each. They never import each other."""
