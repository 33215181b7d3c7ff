"""For a user's own tests and loops: `assert_parity` and `assert_loop_parity`."""
