package security

import (
	"fmt"
	"strings"
)

// Principal is who a client is to Kafka (KafkaPrincipal).
type Principal struct {
	Type string // almost always "User"
	Name string
}

// UserType is the type of principals that listeners make.
const UserType = "User"

// Anonymous is the principal of a connection that did not authenticate
// (KafkaPrincipal.ANONYMOUS).
var Anonymous = Principal{Type: UserType, Name: "ANONYMOUS"}

// everyone is the principal of entries that are meant for all principals, of
// whatever type.
const everyone = "User:*"

// String writes type:name, which is how entries and super.users name a
// principal.
func (p Principal) String() string { return p.Type + ":" + p.Name }

// ParsePrincipal reads type:name; only the first colon parts them
// (SecurityUtils.parseKafkaPrincipal).
func ParsePrincipal(s string) (Principal, error) {
	kind, name, ok := strings.Cut(s, ":")
	if !ok {
		return Principal{}, fmt.Errorf("expected a string in format principalType:principalName but got %q", s)
	}
	return Principal{Type: kind, Name: name}, nil
}
