"""Two stories that every way into KIFF must tell alike: an invoice that is paid once, an order with a ceiling."""
