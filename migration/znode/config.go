package znode

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// DecodeConfig reads a node below /config: the configuration of a topic or
// broker, the quotas of a user, client or address, or a user's SCRAM credentials.
// An empty node, as the parent of a user's clients is, has no configuration.
func DecodeConfig(data []byte) (map[string]string, error) {
	if len(data) == 0 {
		return nil, nil
	}
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return nil, err
	}
	return get[map[string]string](o, "config")
}

// EncodeConfig writes a node below /config.
func EncodeConfig(config map[string]string) []byte {
	if config == nil {
		config = map[string]string{}
	}
	return encode(struct {
		Version int               `json:"version"`
		Config  map[string]string `json:"config"`
	}{1, config})
}

// EncodeConfigChange writes the notification of a changed configuration; entity
// is the changed node's path without "/config/".
func EncodeConfigChange(entity string) []byte {
	return encode(struct {
		Version int    `json:"version"`
		Entity  string `json:"entity_path"`
	}{2, entity})
}

// The names under which a user's node keeps SCRAM credentials beside quotas.
const (
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// Scram is one SCRAM credential (ScramCredentialUtils). Secret.
type Scram struct {
	Salt, StoredKey, ServerKey []byte
	Iterations                 int32
}

// DecodeScram reads the value of a SCRAM credential.
func DecodeScram(text string) (Scram, error) {
	fields := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		if _, again := fields[name]; !ok || again {
			return Scram{}, fmt.Errorf("a SCRAM credential is salt=,stored_key=,server_key=,iterations=, once each") // never the text: it is secret
		}
		fields[name] = value
	}
	var s Scram
	for name, into := range map[string]*[]byte{"salt": &s.Salt, "stored_key": &s.StoredKey, "server_key": &s.ServerKey} {
		value, err := base64.StdEncoding.DecodeString(fields[name])
		if err != nil || len(value) == 0 {
			return Scram{}, fmt.Errorf("the %s of a SCRAM credential is missing or is not base64", name)
		}
		*into = value
	}
	n, err := strconv.ParseInt(fields["iterations"], 10, 32)
	if err != nil || n <= 0 || len(fields) != 4 {
		return Scram{}, fmt.Errorf("a SCRAM credential has a salt, two keys and a positive number of iterations, and nothing else")
	}
	s.Iterations = int32(n)
	return s, nil
}

// Encode writes the value of a SCRAM credential.
func (s Scram) Encode() string {
	b := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("salt=%s,stored_key=%s,server_key=%s,iterations=%d", b(s.Salt), b(s.StoredKey), b(s.ServerKey), s.Iterations)
}
