"""Questions that libraries like this one have answered wrongly, or not at all, and the answers given here."""
