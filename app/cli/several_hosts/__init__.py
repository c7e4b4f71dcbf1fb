"""Commands for records that several hosts share."""
