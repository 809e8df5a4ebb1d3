package mirror

import (
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/znode"
)

const secret = "the brokers' secret"

// sample is an image with an item of every kind.
func sample(t *testing.T) *image.Image {
	t.Helper()
	id := kafka.TopicID{15: 1}
	value, password, user := "1", "hunter2", "a user"
	d := image.NewDelta(image.Empty())
	for _, r := range []record.Record{
		&record.TopicRecord{Name: "t", TopicID: id},
		&record.PartitionRecord{TopicID: id, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{2, 1}, Leader: 1, PartitionEpoch: 3},
		&record.ConfigRecord{ResourceType: 2, ResourceName: "t", Name: "retention.ms", Value: &value},
		&record.ConfigRecord{ResourceType: 4, ResourceName: "1", Name: "listener.name.x.ssl.key.password", Value: &password},
		&record.ConfigRecord{ResourceType: 32, ResourceName: "g", Name: "consumer.session.timeout.ms", Value: &value},
		&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: &user}}, Key: "request_percentage", Value: 10},
		&record.UserScramCredentialRecord{Name: user, Mechanism: 1, Salt: []byte("salt"), StoredKey: []byte("stored"), ServerKey: []byte("server"), Iterations: 4096},
		&record.AccessControlEntryRecord{ID: kafka.UUID{15: 3}, ResourceType: 2, ResourceName: "t", PatternType: 3, Principal: "User:a", Host: "*", Operation: 3, PermissionType: 3},
		&record.DelegationTokenRecord{TokenID: "tok", Owner: "User:a", Requester: "User:a", IssueTimestamp: 1, MaxTimestamp: 2, ExpirationTimestamp: 2},
		&record.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 1, NextProducerID: 2000},
	} {
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	return d.Apply(image.Position{Offset: 70, Epoch: 4})
}

// mirrored is the tree that dual write makes of an image.
func mirrored(t *testing.T, im *image.Image) *znode.Tree {
	t.Helper()
	tree := znode.NewTree()
	for _, w := range convert.Writes(tree, convert.All(im, convert.WriteOptions{ControllerEpoch: 4, Secret: secret, Random: random}).Nodes) {
		if !tree.Apply(w) {
			t.Fatalf("%v %s", w.Op, w.Path)
		}
	}
	return tree
}

// TestCompare: what is the same is equal whatever its spelling, and each difference
// is told by its path, without secrets.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name, path, data string // "" takes the node away
		want             Kind   // "" for none
		hashes           bool   // the hashes differ
	}{
		{"nothing", "", "", "", false},
		{"another spelling of a number", "/config/users/a%20user", `{"config":{"request_percentage":"1e1","SCRAM-SHA-256":"salt=c2FsdA==,stored_key=c3RvcmVk,server_key=c2VydmVy,iterations=4096"},"version":1}`, "", false},
		{"another epoch of a controller, another order", "/brokers/topics/t/partitions/0/state", `{"version":1,"leader":1,"leader_epoch":0,"controller_epoch":99,"isr":[1,2]}`, "", false},
		{"an entity without values", "/config/clients/c", `{"version":1,"config":{}}`, "", false},
		{"another leader", "/brokers/topics/t/partitions/0/state", `{"version":1,"leader":2,"leader_epoch":0,"controller_epoch":4,"isr":[1,2]}`, Different, true},
		{"garbage", "/brokers/topics/t", "garbage", Different, true},
		{"no configuration", "/config/topics/t", "", Missing, true},
		{"a topic more", "/brokers/topics/more", `{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAACQ","partitions":{"0":[1]},"adding_replicas":{},"removing_replicas":{}}`, Extra, true},
		{"a rule more", "/kafka-acl/Topic/t", `{"version":1,"acls":[{"principal":"User:a","permissionType":"Allow","operation":"Read","host":"*"},{"principal":"User:b","permissionType":"Deny","operation":"Read","host":"*"}]}`, Different, true},
		{"no rules", "/kafka-acl/Topic/t", "", Missing, true},
		{"another credential", "/config/users/a%20user", `{"config":{"request_percentage":"10.0","SCRAM-SHA-256":"salt=c2FsdA==,stored_key=c3RvcmVk,server_key=b3RoZXI=,iterations=4096"},"version":1}`, Different, true},
		{"no token", "/delegation_token/tokens/tok", "", Missing, true},
		{"a deletion that nobody carries out", "/admin/delete_topics/t", "x", Extra, true},
		{"another block", znode.ProducerIDBlockPath, `{"version":1,"broker":1,"block_start":"0","block_end":"999"}`, Different, true},
		{"a password that cannot be decrypted", "/config/brokers/1", `{"version":1,"config":{"listener.name.x.ssl.key.password":"nonsense"}}`, Different, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := sample(t)
			tree := mirrored(t, im)
			switch n, _ := tree.Get(c.path); {
			case c.data != "":
				tree.Add(c.path, znode.Node{Data: []byte(c.data), Version: n.Version})
			case c.path != "":
				tree.Remove(c.path)
			}
			got := Compare(tree, im, secret)
			if c.want == "" != got.Equal() || got.Offset != 70 || got.Epoch != 4 || got.Items < 8 || len(got.OnlyInLog) != 1 {
				t.Fatalf("%+v", got)
			}
			if (got.ZooKeeperHash != got.ImageHash) != c.hashes {
				t.Errorf("hashes %s and %s", got.ZooKeeperHash, got.ImageHash)
			}
			for _, d := range got.Differences {
				if d.Path != c.path || d.Kind != c.want || strings.Contains(d.Image+d.ZooKeeper, "hunter2") || strings.Contains(d.Image+d.ZooKeeper, "stored_key") {
					t.Errorf("%+v", d)
				}
			}
			// What dual write would write, and nothing else, is different.
			nodes := convert.All(im, convert.WriteOptions{ControllerEpoch: 4, Secret: secret, Random: random}).Nodes
			writes := convert.Writes(tree, append(nodes, convert.Extra(tree, im, nodes)...))
			if (len(writes) == 0) != got.Equal() {
				t.Errorf("it would write %+v", writes)
			}
		})
	}
}

// TestBehind: a version below the partition epoch is a difference, of the version
// alone.
func TestBehind(t *testing.T) {
	im := sample(t)
	tree := mirrored(t, im)
	n, _ := tree.Get("/brokers/topics/t/partitions/0/state")
	n.Version = 1
	tree.Add("/brokers/topics/t/partitions/0/state", n)
	got := Compare(tree, im, secret)
	if len(got.Differences) != 1 || got.Differences[0].Kind != Behind || got.ZooKeeperHash != got.ImageHash {
		t.Errorf("%+v", got)
	}
}
