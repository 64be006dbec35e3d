"""What is known of each meter as it is published: values, availability, unique ids."""
