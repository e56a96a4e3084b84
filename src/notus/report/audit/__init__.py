"""What pages show of an audit's rows."""
