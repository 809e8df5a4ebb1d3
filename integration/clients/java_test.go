package clients

import (
	"context"
	"testing"

	"kvorum/integration/peer"
)

// java writes by Apache's own producer and reads by its consumer.
func java(ctx context.Context, t *testing.T, j job) (got seen, err error) {
	driver := peer.Require(t, peer.V43).StartDriver(t)
	if err := create(ctx, j); err != nil {
		return got, err
	}
	for _, codec := range j.codecs {
		args := peer.Args{"bootstrap": j.bootstrap, "topic": j.topic, "prefix": "value-" + codec, "count": count, "properties": map[string]string{"compression.type": codec}}
		if err := driver.Do(ctx, "produce", args, nil); err != nil {
			return got, err
		}
	}
	if got.Values, err = consumeByJava(ctx, driver, j); err != nil {
		return got, err
	}
	got.Committed, err = committed(ctx, j)
	return got, err
}

func javaRead(ctx context.Context, t *testing.T, j job) ([]string, error) {
	return consumeByJava(ctx, peer.Require(t, peer.V43).StartDriver(t), j)
}

func consumeByJava(ctx context.Context, driver *peer.Driver, j job) ([]string, error) {
	var consumed struct{ Values []string }
	err := driver.Do(ctx, "consume", peer.Args{"bootstrap": j.bootstrap, "topic": j.topic, "group": j.group, "count": len(j.want())}, &consumed)
	return consumed.Values, err
}
