"""Who gets a stanza: addresses, routes, sessions and the rules of delivery."""
