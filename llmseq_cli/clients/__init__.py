"""Everything that talks to a paid or remote service: errors, retries, rates, prices."""
