package controller

import (
	"strings"

	"kvorum/metadatalog/image"
)

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
