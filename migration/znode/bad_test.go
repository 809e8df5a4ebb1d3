package znode

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestBadNodes: each bad node gives an error that says what is wrong with it.
func TestBadNodes(t *testing.T) {
	topic := func(data []byte) error { _, err := DecodeTopic("t", data); return err }
	state := func(data []byte) error { _, err := DecodePartitionState(data); return err }
	config := func(data []byte) error { _, err := DecodeConfig(data); return err }
	acls := func(data []byte) error { _, err := DecodeACLs(data); return err }
	token := func(data []byte) error { _, err := DecodeToken(data); return err }
	broker := func(data []byte) error { _, err := DecodeBroker(1, data); return err }
	controller := func(data []byte) error { _, err := DecodeController(data); return err }
	epoch := func(data []byte) error { _, err := DecodeControllerEpoch(data); return err }
	migration := func(data []byte) error { _, err := DecodeMigration(data); return err }
	block := func(data []byte) error { _, err := DecodeProducerIDBlock(data); return err }
	feature := func(data []byte) error { _, err := DecodeFeature(data); return err }
	moves := func(data []byte) error { _, err := DecodeReassignments(data); return err }
	cluster := func(data []byte) error { _, err := DecodeClusterID(data); return err }
	const id = `"topic_id":"2ZEjyaWxQhes7aa_NzlQ4Q"`
	for _, c := range []struct {
		name   string
		decode func([]byte) error
		data   string
		want   string
	}{
		{"garbage", topic, "\x00\xff\x17", "not a JSON object"},
		{"bytes that are no text", cluster, "{\"version\":\"1\",\"id\":\"a\xffb\"}", "not UTF-8"},
		{"null", topic, "null", "it is null"},
		{"a list", topic, "[]", "not a JSON object"},
		{"empty", topic, "", "the node is empty"},
		{"too big", topic, strings.Repeat(" ", MaxData+1), "more than"},
		{"deep", topic, strings.Repeat(`{"a":`, 20000), "not a JSON object"},
		{"no version", topic, "{}", `"version" is missing`},
		{"version is text", topic, `{"version":"x"}`, "not a number"},
		{"a newer version", topic, `{"version":4}`, "version 4 of this node is unknown"},
		{"no partitions", topic, `{"version":3}`, `"partitions" is missing`},
		{"a partition without number", topic, `{"version":3,"partitions":{"x":[1]}}`, "no partition number"},
		{"a number in another spelling", topic, `{"version":3,"partitions":{"01":[1]}}`, "no partition number"},
		{"a negative partition", topic, `{"version":3,"partitions":{"-1":[1]}}`, "no partition number"},
		{"no replicas", topic, `{"version":3,"partitions":{"0":[]}}`, "no replicas"},
		{"a replica twice", topic, `{"version":3,"partitions":{"0":[1,1]}}`, "occurs twice"},
		{"a negative broker", topic, `{"version":3,"partitions":{"0":[-1]}}`, "no broker id"},
		{"a broker of 33 bits", topic, `{"version":3,"partitions":{"0":[4294967296]}}`, "not what it should be"},
		{"added but no replica", topic, `{"version":3,"partitions":{"0":[1]},"adding_replicas":{"0":[2]}}`, "is no replica"},
		{"added to nothing", topic, `{"version":3,"partitions":{"0":[1]},"adding_replicas":{"5":[1]}}`, "no partition 5"},
		{"a bad id", topic, `{"version":3,"partitions":{"0":[1]},"topic_id":"!"}`, "topic_id"},
		{"an id of another case", topic, `{"Version":3,` + id + `}`, `"version" is missing`},

		{"no leader", state, `{"version":1,"controller_epoch":1,"leader_epoch":1,"isr":[1]}`, `"leader" is missing`},
		{"no ISR", state, `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":1}`, `"isr" is missing`},
		{"leader -2", state, `{"version":1,"controller_epoch":1,"leader":-2,"leader_epoch":1,"isr":[1]}`, "no broker id"},
		{"a negative leader epoch", state, `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":-3,"isr":[1]}`, "leader epoch"},
		{"an ISR with a broker twice", state, `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":3,"isr":[1,1]}`, "occurs twice"},
		{"recovery state 9", state, `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":3,"isr":[1],"leader_recovery_state":9}`, "recovery state"},
		{"an epoch of 33 bits", state, `{"version":1,"controller_epoch":4294967296}`, "32 bits"},

		{"no config", config, `{"version":1}`, `"config" is missing`},
		{"a value that is a list", config, `{"version":1,"config":{"a":[]}}`, "not what it should be"},

		{"no rules", acls, `{"version":1}`, `"acls" is missing`},
		{"an unknown operation", acls, `{"version":1,"acls":[{"principal":"User:a","host":"*","operation":"Fly","permissionType":"Allow"}]}`, `operation "Fly" is unknown`},
		{"an unknown permission", acls, `{"version":1,"acls":[{"principal":"User:a","host":"*","operation":"Read","permissionType":"Maybe"}]}`, `permission "Maybe" is unknown`},
		{"a principal without type", acls, `{"version":1,"acls":[{"principal":"a","host":"*","operation":"Read","permissionType":"Allow"}]}`, "principal"},
		{"no host", acls, `{"version":1,"acls":[{"principal":"User:a","operation":"Read","permissionType":"Allow"}]}`, `"host" is missing`},

		{"a token without owner", token, `{"version":3,"tokenId":"x"}`, `"owner" is missing`},
		{"a token's bad owner", token, `{"version":3,"tokenId":"x","owner":"%zz"}`, "escape"},
		{"a broker of version 6", broker, `{"version":6}`, "version 6"},
		{"a broker without port", broker, `{"version":5,"endpoints":["PLAINTEXT://h:x"]}`, "no port"},
		{"a broker without address", broker, `{"version":5,"endpoints":["PLAINTEXT://h"]}`, "not LISTENER://host:port"},
		{"a controller without id", controller, `{"version":2}`, `"brokerid" is missing`},
		{"an epoch that is none", epoch, "1x", "not a number"},
		{"an empty epoch", epoch, "", "not a number"},
		{"migration of version 1", migration, `{"version":1}`, "version 1"},
		{"migration without offset", migration, `{"version":0,"kraft_controller_id":1,"kraft_controller_epoch":1,"kraft_metadata_epoch":1}`, `"kraft_metadata_offset" is missing`},
		{"a block that ends before it starts", block, `{"version":1,"broker":1,"block_start":"10","block_end":"9"}`, "is not one"},
		{"the last block of all", block, `{"version":1,"broker":1,"block_start":"10","block_end":"9223372036854775807"}`, "is not one"},
		{"features without status", feature, `{"version":2,"features":{}}`, `"status" is missing`},
		{"moves that are text", moves, `{"version":1,"partitions":"x"}`, "not what it should be"},
		{"a cluster without id", cluster, `{"version":"1"}`, `"id" is missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.decode([]byte(c.data))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestBadScram(t *testing.T) {
	for _, text := range []string{"", "salt=YQ==", "salt=YQ==,stored_key=YQ==,server_key=YQ==,iterations=0",
		"salt=YQ==,stored_key=YQ==,server_key=YQ==,iterations=1,x=1", "salt=!,stored_key=YQ==,server_key=YQ==,iterations=1",
		"salt=YQ==,salt=YQ==,stored_key=YQ==,server_key=YQ==,iterations=1"} {
		if _, err := DecodeScram(text); err == nil {
			t.Errorf("%q was taken", text)
		} else if len(text) > 0 && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

// TestBadTrees: what is wrong in a tree is named with its path, and the rest of
// the tree is still read.
func TestBadTrees(t *testing.T) {
	const ids = `"topic_id":"2ZEjyaWxQhes7aa_NzlQ4Q","partitions":{"0":[1,2]},"version":3}`
	for _, c := range []struct {
		name     string
		path     string
		data     string
		severity Severity
		at, want string
	}{
		{"a topic of the same id", "/brokers/topics/zz", `{"topic_id":"nCTRNjO9Tq-XECYbI2ZyDg","partitions":{"0":[1]},"version":3}`, Blocking, "/brokers/topics/zz", "belongs to the topic orders"},
		{"a topic without id", "/brokers/topics/zz", `{"partitions":{"0":[1]},"version":2}`, Blocking, "/brokers/topics/zz", "no id"},
		{"a topic without partitions", "/brokers/topics/zz", `{"topic_id":"nCTRNjO9Tq-XECYbI2ZyDw","partitions":{},"version":3}`, Blocking, "/brokers/topics/zz", "no partitions"},
		{"a name that is none", "/brokers/topics/z z", `{` + ids, Blocking, "/brokers/topics/z z", "no legal name"},
		{"a topic of garbage", "/brokers/topics/orders", "\xff", Blocking, "/brokers/topics/orders", "JSON"},
		{"a state of garbage", "/brokers/topics/orders/partitions/1/state", "\xff", Blocking, "/brokers/topics/orders/partitions/1/state", "JSON"},
		{"a stranger leads", "/brokers/topics/orders/partitions/1/state", `{"version":1,"controller_epoch":1,"leader":9,"leader_epoch":1,"isr":[1]}`, Blocking, "/brokers/topics/orders/partitions/1/state", "broker 9 leads"},
		{"a stranger in sync", "/brokers/topics/orders/partitions/1/state", `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":1,"isr":[1,9]}`, Blocking, "/brokers/topics/orders/partitions/1/state", "broker 9 is in the ISR"},
		{"a state without its partition", "/brokers/topics/orders/partitions/77", "", Orphan, "/brokers/topics/orders/partitions/77", "no such partition"},
		{"a config without its topic", "/config/topics/gone", `{"version":1,"config":{}}`, Orphan, "/config/topics/gone", "no topic"},
		{"a broker without number", "/brokers/ids/x", `{}`, Blocking, "/brokers/ids/x", "no broker id"},
		{"a config of no broker", "/config/brokers/x", `{"version":1,"config":{"a":"b"}}`, Blocking, "/config/brokers/x", "no broker id"},
		{"a user of a bad name", "/config/users/%zz", `{"version":1,"config":{"a":"1"}}`, Blocking, "/config/users/%zz", "escape"},
		{"a user written in two ways", "/config/users/bo%62", `{"version":1,"config":{"producer_byte_rate":"1"}}`, Blocking, "/config/users/bob", "/config/users/bo%62 is of the same entity"},
		{"an unknown resource type", "/kafka-acl/Moon", "", Blocking, "/kafka-acl/Moon", "no resource type"},
		{"an unknown pattern", "/kafka-acl-extended/regex", "", Blocking, "/kafka-acl-extended/regex", "no pattern type"},
		{"ACLs of garbage", "/kafka-acl/Topic/orders", "x", Blocking, "/kafka-acl/Topic/orders", "JSON"},
		{"a token under another id", "/delegation_token/tokens/a", `{"version":3,"tokenId":"b","owner":"User%3Ax","renewers":[],"issueTimestamp":1,"maxTimestamp":2,"expiryTimestamp":3}`, Blocking, "/delegation_token/tokens/a", `holds the token "b"`},
		{"a bad reassignment", "/admin/reassign_partitions", "x", Blocking, "/admin/reassign_partitions", "JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := loadTree(t, "before")
			tree.Add(c.path, Node{Data: []byte(c.data)})
			s := Decode(tree)
			if len(s.Problems) != 1 {
				t.Fatalf("problems: %v", s.Problems)
			}
			p := s.Problems[0]
			if p.Path != c.at || p.Severity != c.severity || !strings.Contains(p.Error(), c.want) {
				t.Errorf("got %v (%v)", p, p.Severity)
			}
			if (s.Blocking() != nil) != (c.severity == Blocking) {
				t.Errorf("Blocking() = %v", s.Blocking())
			}
			if len(s.Topics) < 5 || len(s.Users) != 3 {
				t.Errorf("only %d topics and %d users were read", len(s.Topics), len(s.Users))
			}
		})
	}
}

func TestBlockingIsBounded(t *testing.T) {
	s := &Snapshot{}
	for i := range 1000 {
		s.Problems = append(s.Problems, Problem{fmt.Sprint("/", i), Blocking, errors.New("bad")})
	}
	if text := s.Blocking().Error(); !strings.Contains(text, "and 990 nodes more") || len(text) > 1000 {
		t.Error(text)
	}
}

// TestTopicsInFlight: a topic that is to be deleted is not read, and a partition
// that no controller has started is as Apache's migration assumes.
func TestTopicsInFlight(t *testing.T) {
	tree := loadTree(t, "before")
	tree.Add("/admin/delete_topics/plain", Node{})
	tree.Remove("/brokers/topics/orders/partitions/2/state")
	tree.Add(ReassignmentsPath, Node{Data: []byte(`{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[2,3]}]}`)})
	s := Decode(tree)
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems)
	}
	if len(s.Deletions) != 1 || s.Deletions[0] != "plain" || len(s.Moves) != 1 || s.Moves[0].Replicas[1] != 3 {
		t.Errorf("deletions %v, moves %v", s.Deletions, s.Moves)
	}
	for _, topic := range s.Topics {
		if topic.Name == "plain" {
			t.Error("the topic that is to be deleted was read")
		}
		if topic.Name == "orders" {
			st := topic.States[2]
			if st.Found || st.Leader != 2 || len(st.ISR) != 3 || st.Epoch != 0 || st.LeaderEpoch != 0 {
				t.Errorf("assumed %+v", st)
			}
		}
	}
}
