package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// changeOf is a resource of IncrementalAlterConfigs with operations such as
// "set key=value", "delete key=", "append key=value", "set key" (null).
func changeOf(kind image.ResourceType, name string, ops ...string) kmsg.IncrementalAlterConfigsRequestResource {
	r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceType(kind), ResourceName: name}
	for _, op := range ops {
		verb, rest, _ := strings.Cut(op, " ")
		key, value, hasValue := strings.Cut(rest, "=")
		c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key}
		if hasValue {
			c.Value = &value
		}
		switch verb {
		case "delete":
			c.Op = kmsg.IncrementalAlterConfigOpDelete
		case "append":
			c.Op = kmsg.IncrementalAlterConfigOpAppend
		case "subtract":
			c.Op = kmsg.IncrementalAlterConfigOpSubtract
		case "what":
			c.Op = 9
		}
		r.Configs = append(r.Configs, c)
	}
	return r
}

func (c *cluster) alterConfigs(changes ...kmsg.IncrementalAlterConfigsRequestResource) (Decision, *kmsg.IncrementalAlterConfigsResponse) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.Resources = 1, changes
	return IncrementalAlterConfigs(c.in, req)
}

// configRecords prints config records, a word each.
func configRecords(records []record.Message) string {
	var out []string
	for _, m := range records {
		switch r := m.Record.(type) {
		case *record.ConfigRecord:
			value := "null"
			if r.Value != nil {
				value = *r.Value
			}
			out = append(out, fmt.Sprintf("%d/%s:%s=%s", r.ResourceType, r.ResourceName, r.Name, value))
		case *record.ClearElrRecord:
			out = append(out, "clear("+r.TopicName+")")
		default:
			out = append(out, m.Record.RecordName())
		}
	}
	return strings.Join(out, " ")
}

func configCluster(t testing.TB, level image.MetadataVersion, elr bool) *cluster {
	c := newCluster(t, level, someBrokers(3)...)
	if elr {
		c.fold(message(&record.FeatureLevelRecord{Name: image.FeatureELRVersion, FeatureLevel: 1}))
	}
	c.mustCreate(newTopic("t", 1, 1, "retention.ms", "5", "cleanup.policy", "delete"), newTopic("u", 1, 1))
	c.fold(configRecord(image.Resource{Type: 4, Name: "2"}, "log.retention.ms", ptr("7")),
		configRecord(image.Resource{Type: 4}, "min.insync.replicas", ptr("1")),
		configRecord(image.Resource{Type: 4, Name: "3"}, "cordoned.log.dirs", ptr("/a, /b")))
	return c
}

func TestIncrementalAlterConfigs(t *testing.T) {
	const topic, broker, metrics, group = image.ResourceTopic, image.ResourceBroker, image.ResourceClientMetrics, image.ResourceGroup
	long := strings.Repeat("x", 32768)
	for _, tc := range []struct {
		change  kmsg.IncrementalAlterConfigsRequestResource
		code    errors.Code
		text    string
		records string
	}{
		{changeOf(topic, "t", "set retention.ms=9"), 0, "", "2/t:retention.ms=9"},
		{changeOf(topic, "t", "set retention.ms=5"), 0, "", ""},
		{changeOf(topic, "t", "delete retention.ms=x", "delete segment.ms"), 0, "", "2/t:retention.ms=null"},
		{changeOf(topic, "t", "set retention.ms"), 0, "", "2/t:retention.ms=null"},
		{changeOf(topic, "t", "set retention.ms=1", "set retention.ms=2"), 0, "", "2/t:retention.ms=2"},
		{changeOf(topic, "t"), 0, "", ""},
		{changeOf(topic, "t", "append cleanup.policy=compact"), 0, "", "2/t:cleanup.policy=delete,compact"},
		{changeOf(topic, "u", "append cleanup.policy=compact"), 0, "", "2/u:cleanup.policy=delete,compact"},
		{changeOf(topic, "u", "append cleanup.policy=delete"), 0, "", "2/u:cleanup.policy=delete"},
		{changeOf(topic, "t", "append cleanup.policy=delete"), 0, "", ""},
		{changeOf(topic, "t", "subtract cleanup.policy=delete"), 0, "", "2/t:cleanup.policy="},
		{changeOf(topic, "t", "append retention.ms=1"), errors.InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.", ""},
		{changeOf(topic, "t", "subtract no.such=1"), errors.InvalidConfig, "Can't SUBTRACT to key no.such because its type is not LIST.", ""},
		{changeOf(topic, "t", "append cleanup.policy"), errors.InvalidRequest, "Null value not supported for : cleanup.policy", ""},
		{changeOf(topic, "t", "what retention.ms=1"), errors.InvalidRequest, "Unknown operation 9 on config retention.ms.", ""},
		{changeOf(topic, "t", "set no.such=1"), errors.InvalidConfig, "Unknown topic config name: no.such", ""},
		{changeOf(topic, "t", "set retention.ms=soon", "set segment.ms=1"), errors.InvalidConfig, "Invalid value soon for configuration retention.ms: Not a number of type LONG", ""},
		{changeOf(topic, "t", "set compression.type="+long), errors.InvalidConfig, "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.", ""},
		{changeOf(topic, "no", "set retention.ms=1"), errors.UnknownTopicOrPartition, "The topic 'no' does not exist.", ""},
		{changeOf(topic, "no"), errors.UnknownTopicOrPartition, "The topic 'no' does not exist.", ""},
		{changeOf(topic, "", "set retention.ms=1"), errors.InvalidRequest, "Default topic resources are not allowed.", ""},
		{changeOf(topic, "a b", "set retention.ms=1"), errors.InvalidTopicException, "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", ""},

		{changeOf(broker, "2", "set log.retention.ms=7"), 0, "", "4/2:log.retention.ms=7"},
		{changeOf(broker, "2", "delete log.retention.ms"), 0, "", "4/2:log.retention.ms=null"},
		{changeOf(broker, "", "set a.plugins.key=x"), 0, "", "4/:a.plugins.key=x"},
		{changeOf(broker, "1", "set log.retention.ms=7"), 0, "", "4/1:log.retention.ms=7"},
		{changeOf(broker, "9", "set log.retention.ms=7"), errors.BrokerIDNotRegistered, "No node with id 9 found.", ""},
		{changeOf(broker, "x", "set log.retention.ms=7"), errors.InvalidRequest, "Unable to parse broker name as a base 10 number.", ""},
		{changeOf(broker, "-1", "set log.retention.ms=7"), errors.InvalidRequest, "Invalid negative broker ID.", ""},
		{changeOf(broker, "3", "set cordoned.log.dirs=/b"), 0, "", "4/3:cordoned.log.dirs=/b"},
		{changeOf(broker, "3", "set cordoned.log.dirs=/b,/c"), errors.InvalidConfig, "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the current configuration value.", ""},
		{changeOf(broker, "3", "delete cordoned.log.dirs"), 0, "", "4/3:cordoned.log.dirs=null"},

		{changeOf(metrics, "m", "set interval.ms=1000"), 0, "", "16/m:interval.ms=1000"},
		{changeOf(metrics, "", "set interval.ms=1000"), errors.InvalidRequest, "Subscription name can't be empty", ""},
		{changeOf(metrics, "m", "set interval.ms=1"), errors.InvalidRequest, "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)", ""},
		{changeOf(group, "g", "set consumer.session.timeout.ms=50000"), 0, "", "32/g:consumer.session.timeout.ms=50000"},
		{changeOf(group, "", "set consumer.session.timeout.ms=50000"), errors.InvalidRequest, "Default group resources are not allowed.", ""},
		{changeOf(group, "g", "set x=1"), errors.InvalidConfig, "Unknown group config name: x", ""},
		{changeOf(image.ResourceBrokerLogger, "1", "set x=1"), errors.InvalidRequest, "Unexpected resource type BROKER_LOGGER.", ""},
		{changeOf(77, "1", "set x=1"), errors.UnsupportedVersion, "Unknown resource type 77.", ""},
	} {
		what := fmt.Sprintf("%d %q %.60v", tc.change.ResourceType, tc.change.ResourceName, tc.change.Configs)
		c := configCluster(t, image.MV43IV0, false)
		d, res := c.alterConfigs(tc.change)
		wantError(t, what, res.Resources[0].ErrorCode, res.Resources[0].ErrorMessage, tc.code, tc.text)
		if got := configRecords(d.Records); got != tc.records || !d.Atomic {
			t.Errorf("%s: records %q, want %q", what, got, tc.records)
		}
		c.fold(d.Records...)
	}
}

// min.insync.replicas decides who is in an ELR (KIP-966).
func TestConfigsWithELR(t *testing.T) {
	for _, tc := range []struct {
		change  kmsg.IncrementalAlterConfigsRequestResource
		text    string
		records string
	}{
		{changeOf(image.ResourceTopic, "t", "set min.insync.replicas=2", "set retention.ms=1"), "", "2/t:min.insync.replicas=2 2/t:retention.ms=1 clear(t)"},
		{changeOf(image.ResourceTopic, "t", "set retention.ms=1"), "", "2/t:retention.ms=1"},
		{changeOf(image.ResourceBroker, "", "set min.insync.replicas=2"), "", "4/:min.insync.replicas=2 clear()"},
		{changeOf(image.ResourceBroker, "", "delete min.insync.replicas"), "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.", ""},
		{changeOf(image.ResourceBroker, "2", "set min.insync.replicas=2"), "Broker-level min.insync.replicas cannot be altered while ELR is enabled.", ""},
	} {
		c := configCluster(t, image.MV43IV0, true)
		d, res := c.alterConfigs(tc.change)
		code := errors.None
		if tc.text != "" {
			code = errors.InvalidConfig
		}
		wantError(t, configRecords(d.Records), res.Resources[0].ErrorCode, res.Resources[0].ErrorMessage, code, tc.text)
		if got := configRecords(d.Records); got != tc.records {
			t.Errorf("records %q, want %q", got, tc.records)
		}
	}
}

func TestCordonedDirectoriesConfig(t *testing.T) {
	change := changeOf(image.ResourceBroker, "2", "set cordoned.log.dirs=/x")
	c := configCluster(t, 29, false)
	_, res := c.alterConfigs(change)
	wantError(t, "29", res.Resources[0].ErrorCode, res.Resources[0].ErrorMessage, errors.InvalidConfig,
		"The cordoned.log.dirs configuration value cannot be set because it requires metadata.version >= 4.3-IV0")
	c = configCluster(t, 30, false)
	c.in.Caller.Forwarded = true // the broker has checked it
	_, res = c.alterConfigs(change)
	wantError(t, "forwarded", res.Resources[0].ErrorCode, res.Resources[0].ErrorMessage, errors.None, "")
}

// Each resource stands alone; one that is there twice is answered once and not
// changed; nothing is written when only validating or not allowed.
func TestAlterConfigsOfSeveralResources(t *testing.T) {
	c := configCluster(t, image.MV43IV0, false)
	c.in.Caller.Allowed = onlyAllow(right{opAlterConfigs, resourceTopic, "t"}, right{opAlterConfigs, resourceTopic, "u"}, right{opAlterConfigs, resourceTopic, "no"})
	changes := []kmsg.IncrementalAlterConfigsRequestResource{
		changeOf(image.ResourceTopic, "t", "set retention.ms=1"), changeOf(image.ResourceTopic, "u", "set retention.ms=1"),
		changeOf(image.ResourceTopic, "u", "set retention.ms=2"), changeOf(image.ResourceTopic, "no", "set retention.ms=1"),
		changeOf(image.ResourceTopic, "secret", "set retention.ms=1"), changeOf(image.ResourceBroker, "", "set x=1"), changeOf(image.ResourceGroup, "g", "set x=1"),
	}
	d, res := c.alterConfigs(changes...)
	var answers []string
	for _, r := range res.Resources {
		answers = append(answers, r.ResourceName+" "+errors.Code(r.ErrorCode).String())
	}
	const want = "u INVALID_REQUEST, secret TOPIC_AUTHORIZATION_FAILED,  CLUSTER_AUTHORIZATION_FAILED, g GROUP_AUTHORIZATION_FAILED, t NONE, no UNKNOWN_TOPIC_OR_PARTITION"
	if got := strings.Join(answers, ", "); got != want {
		t.Errorf("answers\n%s\nwant\n%s", got, want)
	}
	if got := configRecords(d.Records); got != "2/t:retention.ms=1" {
		t.Errorf("records %s", got)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources, req.ValidateOnly = changes, true
	if d, again := IncrementalAlterConfigs(c.in, req); len(d.Records) != 0 || len(again.Resources) != len(res.Resources) {
		t.Errorf("validating wrote %d records", len(d.Records))
	}
}

func TestAlterConfigsReplacesAll(t *testing.T) {
	for _, tc := range []struct {
		kind    image.ResourceType
		name    string
		configs map[string]*string
		elr     bool
		code    errors.Code
		records string
	}{
		{image.ResourceTopic, "t", map[string]*string{"retention.ms": ptr("6")}, false, 0, "2/t:retention.ms=6 2/t:cleanup.policy=null"},
		{image.ResourceTopic, "t", map[string]*string{"retention.ms": ptr("5"), "cleanup.policy": nil}, false, 0, "2/t:cleanup.policy=null"},
		{image.ResourceTopic, "t", nil, false, 0, "2/t:cleanup.policy=null 2/t:retention.ms=null"},
		{image.ResourceTopic, "t", map[string]*string{"no.such": ptr("6")}, false, errors.InvalidConfig, ""},
		{image.ResourceBroker, "2", map[string]*string{"log.retention.ms": ptr("7")}, false, 0, "4/2:log.retention.ms=7"},
		{image.ResourceBroker, "", nil, false, 0, "4/:min.insync.replicas=null"},
		{image.ResourceBroker, "", nil, true, errors.InvalidConfig, ""},
		{image.ResourceBroker, "", map[string]*string{"min.insync.replicas": ptr("2")}, true, 0, "4/:min.insync.replicas=2 clear()"},
		{image.ResourceBrokerLogger, "2", nil, false, errors.InvalidRequest, ""},
	} {
		c := configCluster(t, image.MV43IV0, tc.elr)
		r := kmsg.AlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceType(tc.kind), ResourceName: tc.name}
		for _, key := range sortedKeys(tc.configs) {
			r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: key, Value: tc.configs[key]})
		}
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Version, req.Resources = 2, []kmsg.AlterConfigsRequestResource{r}
		d, res := AlterConfigs(c.in, req)
		if got := configRecords(d.Records); got != tc.records || errors.Code(res.Resources[0].ErrorCode) != tc.code {
			t.Errorf("%d %s: %s, records %q, want %s, %q", tc.kind, tc.name, errors.Code(res.Resources[0].ErrorCode), got, tc.code, tc.records)
		}
		c.fold(d.Records...)
	}
}

func TestDescribeConfigs(t *testing.T) {
	c := configCluster(t, image.MV43IV0, false)
	c.in.Settings.Static = map[string]string{"node.id": "1", "log.retention.ms": "9"}
	for _, tc := range []struct {
		kind image.ResourceType
		name string
		code errors.Code
		text string
		some string // one of the configs, as name=value/source
	}{
		{image.ResourceTopic, "t", 0, "", "retention.ms=5/1"},
		{image.ResourceTopic, "u", 0, "", "retention.ms=9/4"},
		{image.ResourceTopic, "no", errors.UnknownTopicOrPartition, "", ""},
		{image.ResourceTopic, "a b", errors.InvalidTopicException, "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", ""},
		{image.ResourceBroker, "", 0, "", "min.insync.replicas=1/3"},
		{image.ResourceBroker, "1", 0, "", "log.retention.ms=9/4"},
		{image.ResourceBroker, "2", errors.InvalidRequest, "Unexpected broker id, expected 1 or empty string, but received 2", ""},
		{image.ResourceBroker, "x", errors.InvalidRequest, "Broker id must be an integer, but it is: x", ""},
		{image.ResourceClientMetrics, "m", 0, "", "interval.ms=300000/5"},
		{image.ResourceClientMetrics, "", errors.InvalidRequest, "Client metrics subscription name must not be empty", ""},
		{image.ResourceGroup, "g", 0, "", "consumer.session.timeout.ms=45000/5"},
		{image.ResourceBrokerLogger, "2", errors.InvalidRequest, "Unexpected broker id, expected 1 but received 2", ""},
		{7, "x", errors.InvalidRequest, "Unexpected resource type 7 for resource x", ""},
	} {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version = 4
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceType(tc.kind), ResourceName: tc.name}}
		got := DescribeConfigs(c.in, req).Resources[0]
		what := fmt.Sprintf("%d %s", tc.kind, tc.name)
		wantError(t, what, got.ErrorCode, got.ErrorMessage, tc.code, tc.text)
		found := tc.some == ""
		for _, kv := range got.Configs {
			if kv.Value != nil && fmt.Sprintf("%s=%s/%d", kv.Name, *kv.Value, kv.Source) == tc.some {
				found = true
			}
		}
		if !found {
			t.Errorf("%s: %s is not among %d configs", what, tc.some, len(got.Configs))
		}
	}
	c.in.Caller.Allowed = onlyAllow()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}, {ResourceType: 4, ResourceName: ""}, {ResourceType: 32, ResourceName: "g"}}
	for i, want := range []errors.Code{errors.TopicAuthorizationFailed, errors.ClusterAuthorizationFailed, errors.GroupAuthorizationFailed} {
		if r := DescribeConfigs(c.in, req).Resources[i]; errors.Code(r.ErrorCode) != want || len(r.Configs) > 0 {
			t.Errorf("not allowed: %+v", r)
		}
	}
}

// The records of a change do not depend on the order of maps.
func TestDecisionsAreRepeatable(t *testing.T) {
	for range 20 {
		c := configCluster(t, image.MV43IV0, false)
		d, _ := c.alterConfigs(changeOf(image.ResourceTopic, "t", "set retention.ms=1", "set segment.ms=2", "delete cleanup.policy", "set flush.ms=4"))
		if got := configRecords(d.Records); got != "2/t:cleanup.policy=null 2/t:flush.ms=4 2/t:retention.ms=1 2/t:segment.ms=2" {
			t.Fatal(got)
		}
		if c.im.TopicByName("t").ID != (kafka.UUID)(configCluster(t, image.MV43IV0, false).im.TopicByName("t").ID) {
			t.Fatal("the same seed gave another topic id")
		}
	}
}
