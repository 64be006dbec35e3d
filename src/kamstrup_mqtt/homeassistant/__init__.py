"""Home Assistant's discovery messages, generated from the tables of the meters."""
