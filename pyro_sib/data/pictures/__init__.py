"""From picture files to pixels."""
