"""What one version of a domain lets through that another does not."""
