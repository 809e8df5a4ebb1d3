package convert

import (
	"strings"
	"testing"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/znode"
)

// TestWhatCannotBeConverted: each problem names its path, and everything else is
// converted.
func TestWhatCannotBeConverted(t *testing.T) {
	token := `{"version":3,"tokenId":"t1","owner":"User%3Ax","renewers":[],"issueTimestamp":1,"maxTimestamp":2,"expiryTimestamp":3}`
	for _, c := range []struct {
		name, path, data string
		level            image.MetadataVersion
		want             string
	}{
		{"a quota that is no number", "/config/users/eve", `{"version":1,"config":{"producer_byte_rate":"fast"}}`, image.MV39IV0, "is no number"},
		{"an endless quota", "/config/ips/1.2.3.4", `{"version":1,"config":{"connection_creation_rate":"Infinity"}}`, image.MV39IV0, "is no number"},
		{"SCRAM of a client", "/config/clients/c", `{"version":1,"config":{"SCRAM-SHA-256":"salt=YQ=="}}`, image.MV39IV0, "is no number"},
		{"a broken SCRAM credential", "/config/users/eve", `{"version":1,"config":{"SCRAM-SHA-256":"salt=YQ=="}}`, image.MV39IV0, "SCRAM"},
		{"a password in clear text", "/config/brokers/3", `{"version":1,"config":{"ssl.key.password":"hunter2"}}`, image.MV39IV0, "ssl.key.password: a password config is not encrypted"},
		{"tokens before 3.6", "/delegation_token/tokens/t1", token, image.MV36IV1, "need metadata.version 3.6-IV2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := encryptAgain(t, loadTree(t, "at-copy"))
			tree.Add(c.path, znode.Node{Data: []byte(c.data)})
			s := znode.Decode(tree)
			if err := s.Blocking(); err != nil {
				t.Fatal(err)
			}
			o := testOptions()
			o.MetadataVersion = c.level
			messages, problems := Records(s, o)
			if len(problems) != 1 || problems[0].Path != c.path || !strings.Contains(problems[0].Error(), c.want) {
				t.Errorf("problems %v, want one of %s with %q", problems, c.path, c.want)
			}
			if strings.Contains(problems[0].Error(), "hunter2") {
				t.Error("the problem shows a secret")
			}
			if len(messages) < 58 {
				t.Errorf("only %d records", len(messages))
			}
		})
	}
}

func TestScramNeeds35(t *testing.T) {
	o := testOptions()
	o.MetadataVersion = image.MV34IV0
	_, problems := Records(znode.Decode(encryptAgain(t, loadTree(t, "at-copy"))), o)
	if len(problems) != 3 || !strings.Contains(problems[0].Error(), "SCRAM credentials need metadata.version 3.5-IV2") {
		t.Errorf("problems %v", problems)
	}
}

func TestTokensAreConverted(t *testing.T) {
	tree := loadTree(t, "rolled-back")
	tree.Add("/delegation_token/tokens/t1", znode.Node{Data: []byte(
		`{"version":3,"tokenId":"t1","owner":"User%3Ateam%20a","tokenRequester":"User%3Aadmin","renewers":["User%3Ab"],"issueTimestamp":1,"maxTimestamp":"30","expiryTimestamp":20}`)})
	messages, problems := Records(znode.Decode(tree), testOptions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := messages[len(messages)-1].Record.(*record.DelegationTokenRecord)
	if got.TokenID != "t1" || got.Owner != "User:team a" || got.Requester != "User:admin" || got.Renewers[0] != "User:b" ||
		got.IssueTimestamp != 1 || got.MaxTimestamp != 30 || got.ExpirationTimestamp != 20 {
		t.Errorf("converted to %+v", got)
	}
}
