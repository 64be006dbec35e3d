"""Each meter as it is published: values, availability, unique ids."""
