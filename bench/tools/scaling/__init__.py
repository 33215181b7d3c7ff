"""How data-parallel training scales, calculated from one rank's measured step and a link."""
