"""From files that others wrote to the parameters of a network, without trust."""
