package config

import "flag"

var update = flag.Bool("update", false, "write docs/configuration.md")
