"""Reports, pictures and exports, from records alone."""
