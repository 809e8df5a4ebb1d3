// Command gen writes records_gen.go, the typed metadata records and their
// codec, from records.def.
package main

import (
	"fmt"
	"os"
)

func main() {
	source, err := os.ReadFile("records.def")
	if err == nil {
		var code []byte
		if code, err = generate(string(source)); err == nil {
			err = os.WriteFile("records_gen.go", code, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
