"""Home Assistant's discovery messages, made out of the meters' tables."""
