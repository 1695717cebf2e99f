"""Pictures that are data, as SVG whose styles stand in style.css."""
