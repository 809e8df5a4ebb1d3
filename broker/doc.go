// Package broker is a broker's life: it follows the metadata log, registers with
// the active controller, tells it that it lives, and acts on each image through
// its publishers, until it is told to stop.
//
// It stands between the controllers and everything a broker does. A separate
// broker fetches the metadata log into a store of its own (fetchcore.go decides,
// fetcher.go runs it), and replay folds that into images; in a combined node the
// controller's images come through the same replay.Source. Lifecycle
// (lifecycle.go decides, heartbeat.go runs it) takes the broker from its
// registration to serving. Client is the way to the active controller, for the
// broker's own requests and for those of its clients.
package broker
