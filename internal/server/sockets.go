package server

import (
	"context"
	"errors"
	"fmt"
	"net"

	"kvorum/config"
)

// sockets are a controller's bound ports by listener name. They are bound before
// anything else is opened, so that a port that is taken is told at once, and a
// port 0 is known by its number when the controller says where it listens.
type sockets map[string]net.Listener

func bindSockets(ctx context.Context, listeners []config.Listener) (sockets, error) {
	bound := make(sockets, len(listeners))
	for _, l := range listeners {
		socket, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Bind.String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s for %s: %w", l.Bind, l.Name, err), bound.close())
		}
		bound[l.Name] = socket
	}
	return bound, nil
}

// port is the bound port of a listener.
func (s sockets) port(name string) uint16 {
	if tcp, ok := s[name].Addr().(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 0
}

// take gives a socket to its listener, which closes it.
func (s sockets) take(name string) func(context.Context, string, string) (net.Listener, error) {
	return func(context.Context, string, string) (net.Listener, error) {
		socket := s[name]
		delete(s, name)
		return socket, nil
	}
}

// close closes those that nobody took.
func (s sockets) close() error {
	var err error
	for name, socket := range s {
		err = errors.Join(err, socket.Close())
		delete(s, name)
	}
	return err
}
