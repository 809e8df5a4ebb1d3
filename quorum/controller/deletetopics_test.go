package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// deletion runs DeleteTopics on topics a, b and c, which are named or given by
// "id:name"; "id:?" is an unknown id. The answers come back sorted.
func deletion(t *testing.T, allowed func(int8, int8, string) bool, asked ...string) (answers []string, left []string) {
	t.Helper()
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	c.mustCreate(newTopic("a", 1, 1), newTopic("b", 2, 1), newTopic("c", 1, 1))
	names := map[kafka.TopicID]string{{0: 7}: "?", {}: "-"}
	for topic := range c.im.Topics() {
		names[topic.ID] = topic.Name
	}
	idOf := func(name string) kafka.TopicID {
		for id, n := range names {
			if n == name {
				return id
			}
		}
		return kafka.ZeroUUID
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	for _, a := range asked {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		name, id, _ := strings.Cut(a, "id:")
		topic.TopicID = idOf(id)
		if name != "" {
			topic.Topic = &name
		}
		req.Topics = append(req.Topics, topic)
	}
	c.in.Caller.Allowed = allowed
	d, res := DeleteTopics(c.in, req)
	c.fold(d.Records...)
	for _, r := range res.Topics {
		name, text := "null", ""
		if r.Topic != nil {
			name = *r.Topic
		}
		if r.ErrorMessage != nil {
			text = " " + *r.ErrorMessage
		}
		answers = append(answers, fmt.Sprintf("%s/%s %s%s", name, names[r.TopicID], errors.Code(r.ErrorCode), text))
	}
	slices.Sort(answers)
	for topic := range c.im.TopicsByName("") {
		left = append(left, topic.Name)
	}
	return answers, left
}

func TestDeleteTopics(t *testing.T) {
	const denied = " TOPIC_AUTHORIZATION_FAILED Topic authorization failed."
	mayA := onlyAllow(right{opDescribe, resourceTopic, "a"}, right{opDelete, resourceTopic, "a"}, right{opDescribe, resourceTopic, "b"}, right{opDescribe, resourceTopic, "none"})
	for _, tc := range []struct {
		allowed func(int8, int8, string) bool
		asked   string
		answers string
		left    string
	}{
		{nil, "a,id:b", "a/a NONE|b/b NONE", "c"},
		{nil, "a,a,b", "a/- INVALID_REQUEST Duplicate topic name.|b/b NONE", "a c"},
		{nil, "id:a,id:a", "null/a INVALID_REQUEST Duplicate topic id.", "a b c"},
		{nil, "a,id:a", "a/a INVALID_REQUEST The provided topic name maps to an ID that was already supplied.", "a b c"},
		{nil, "a,id:a,id:a", "a/a INVALID_REQUEST The provided topic name maps to an ID that was already supplied.|null/a INVALID_REQUEST Duplicate topic id.", "a b c"},
		{nil, "none", "none/- UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.", "a b c"},
		{nil, "id:?", "null/? UNKNOWN_TOPIC_ID This server does not host this topic ID.", "a b c"},
		{nil, "id:", "null/- INVALID_REQUEST Neither topic name nor id were specified.", "a b c"},
		{nil, "aid:b", "a/b INVALID_REQUEST You may not specify both topic name and topic id.", "a b c"},
		{mayA, "a", "a/a NONE", "b c"},
		{mayA, "id:a", "a/a NONE", "b c"},
		{mayA, "b", "b/-" + denied, "a b c"},
		{mayA, "id:b", "b/b" + denied, "a b c"},
		{mayA, "c,unseen", "c/-" + denied + "|unseen/-" + denied, "a b c"},
		{mayA, "id:c", "null/c" + denied, "a b c"},
		{mayA, "none", "none/- UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.", "a b c"},
		{onlyAllow(right{opDelete, resourceCluster, clusterName}), "c", "c/c NONE", "a b"},
	} {
		answers, left := deletion(t, tc.allowed, strings.Split(tc.asked, ",")...)
		if got := strings.Join(answers, "|"); got != tc.answers {
			t.Errorf("%s: answered %s\nwant %s", tc.asked, got, tc.answers)
		}
		if got := strings.Join(left, " "); got != tc.left {
			t.Errorf("%s: left %s, want %s", tc.asked, got, tc.left)
		}
	}
}

func TestDeleteTopicsSwitchedOff(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	c.mustCreate(newTopic("a", 1, 1))
	c.in.Settings.DeleteTopicEnable = false
	for version, want := range map[int16]errors.Code{2: errors.InvalidRequest, 3: errors.TopicDeletionDisabled, 6: errors.TopicDeletionDisabled} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version = version
		if version == 6 {
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("a")}}
		} else {
			req.TopicNames = []string{"a"}
		}
		d, res := DeleteTopics(c.in, req)
		if len(d.Records) != 0 || len(res.Topics) != 1 || errors.Code(res.Topics[0].ErrorCode) != want {
			t.Errorf("version %d: %+v", version, res.Topics)
		}
	}
}

// The configs of a topic go with it.
func TestDeletedTopicLeavesNothing(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	before := c.im
	c.mustCreate(newTopic("a", 3, 1, "retention.ms", "1"))
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames = 5, []string{"a"}
	d, _ := DeleteTopics(c.in, req)
	c.fold(d.Records...)
	if !c.im.Equal(before) || len(d.Records) != 1 {
		t.Errorf("%d records; the image is not what it was before the topic", len(d.Records))
	}
}
