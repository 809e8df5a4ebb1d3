package controller

import (
	"strings"

	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// metadataTopic is the metadata log itself, which no one creates.
const metadataTopic = "__cluster_metadata"

// maxTopicName keeps "name-partition" a valid name of a directory
// (org.apache.kafka.common.internals.Topic).
const maxTopicName = 249

// checkTopicName refuses a name that Kafka refuses, with Apache's reason
// (Topic.validate).
func checkTopicName(name string) *errors.Error {
	reason := ""
	switch {
	case name == "":
		reason = "the empty string is not allowed"
	case name == "." || name == "..":
		reason = "'" + name + "' is not allowed"
	case len(name) > maxTopicName:
		// Java counts UTF-16 units; the difference shows in no name that is legal.
		return errors.New(errors.InvalidTopicException,
			"Topic name is invalid: the length of '%s' is longer than the max allowed length %d", name, maxTopicName)
	case !legalTopicChars(name):
		reason = "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
	default:
		return nil
	}
	return errors.New(errors.InvalidTopicException, "Topic name is invalid: %s", reason)
}

func legalTopicChars(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// collidingTopic returns an existing topic whose name differs from name only in
// '.' against '_' (metric names cannot tell such topics apart), or name itself
// if it exists. It walks the names as a trie that branches at every '.' and
// '_': a seek for every prefix that some topic has, not a scan of all topics.
func collidingTopic(im *image.Image, name string) (string, bool) {
	return collide(im, "", name)
}

func collide(im *image.Image, prefix, rest string) (string, bool) {
	at := strings.IndexAny(rest, "._")
	if at < 0 {
		if full := prefix + rest; im.TopicByName(full) != nil {
			return full, true
		}
		return "", false
	}
	for _, c := range [...]string{".", "_"} {
		next := prefix + rest[:at] + c
		if !hasTopicPrefix(im, next) {
			continue
		}
		if found, ok := collide(im, next, rest[at+1:]); ok {
			return found, true
		}
	}
	return "", false
}

func hasTopicPrefix(im *image.Image, prefix string) bool {
	for t := range im.TopicsByName(prefix) {
		return strings.HasPrefix(t.Name, prefix)
	}
	return false
}
