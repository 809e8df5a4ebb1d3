package raft

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/logger"
)

// quietFor is how long one complaint of dragonboat is not repeated: it says the
// same sentence at every message to a peer that is down.
const quietFor = 10 * time.Second

var routeOnce sync.Once

// routeLogs sends what dragonboat logs to a logger. Dragonboat has one logger
// for the whole process, so that the first call wins.
func routeLogs(l *slog.Logger) {
	routeOnce.Do(func() {
		logger.SetLoggerFactory(func(pkg string) logger.ILogger {
			return &bridge{log: l.With("component", "dragonboat/"+pkg), said: map[string]time.Time{}}
		})
	})
}

// bridge is a logger of dragonboat's on slog. Dragonboat's infos are debug lines
// here: they tell of its parts, not of the cluster.
type bridge struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time // by format, which are constants of dragonboat
}

// SetLevel does nothing: slog's handler decides.
func (b *bridge) SetLevel(logger.LogLevel) {}

// Debugf drops the line: dragonboat formats them at every message.
func (b *bridge) Debugf(string, ...any) {}

// Infof logs at debug level.
func (b *bridge) Infof(format string, args ...any) { b.say(slog.LevelDebug, format, args) }

// Warningf logs at info level, each kind of line once in quietFor.
func (b *bridge) Warningf(format string, args ...any) { b.say(slog.LevelInfo, format, args) }

// Errorf logs at warning level, each kind of line once in quietFor.
func (b *bridge) Errorf(format string, args ...any) { b.say(slog.LevelWarn, format, args) }

// Panicf logs and panics: dragonboat cannot go on.
func (b *bridge) Panicf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.log.Error(text)
	panic(text)
}

func (b *bridge) say(level slog.Level, format string, args []any) {
	if !b.log.Enabled(context.Background(), level) {
		return
	}
	b.mu.Lock()
	now := time.Now()
	quiet := now.Sub(b.said[format]) < quietFor
	if !quiet {
		b.said[format] = now
	}
	b.mu.Unlock()
	if !quiet {
		b.log.Log(context.Background(), level, fmt.Sprintf(format, args...))
	}
}
