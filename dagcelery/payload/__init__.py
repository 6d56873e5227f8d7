"""Values become bytes and come back: serialized, sealed against change, bound to the place they belong to."""
