package incarnation

import (
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// Found is one directory of a broker as its start finds it.
type Found struct {
	Path string
	ID   kafka.DirectoryID
	// Unusable says why the directory is not used: its disk has failed, or its
	// journal of in-sync replicas is damaged. Empty if it is.
	Unusable string
	// Memory is what it remembers; where that is nil Damage may say why.
	Memory *Memory
	Damage string
	// Place is where the directory is now; unknown where the system does not tell.
	Place Place
	// Clean says that it was closed in order, by the registration CleanEpoch.
	Clean      bool
	CleanEpoch kafka.BrokerEpoch
	// Synced says that all that counts in it is fsynced before anybody acts on it: the
	// directory of the metadata log alone.
	Synced bool
}

// Registration is a broker's registration in an image, and what else the image says
// about it.
type Registration struct {
	ID     kafka.UUID
	Epoch  kafka.BrokerEpoch
	Fenced bool
	// Leaving says that it is in controlled shutdown.
	Leaving bool
	// Same says that the process would register the same listeners, features,
	// directories and rack.
	Same bool
}

// Start is as whom a broker starts.
type Start struct {
	// ID is the incarnation that it is or registers as.
	ID kafka.UUID
	// Epoch is the registration that it goes on with; kafka.NoBrokerEpoch: it has to
	// register first, with Previous as the epoch of the one before.
	Epoch    kafka.BrokerEpoch
	Previous kafka.BrokerEpoch
	// Why says why it does not go on as who it was; empty if it does.
	Why string
}

// Resumes reports whether the broker goes on as the incarnation that it was.
func (s Start) Resumes() bool { return s.Epoch != kafka.NoBrokerEpoch }

// Begin says as whom a broker starts. fresh is a new incarnation's id, and enabled
// is kvorum.serve.without.quorum. The rules, in this order:
//
//   - directories that are not intact (see whole) are somebody else's: a new
//     incarnation, which says so to the controllers, unless the stop was clean;
//   - an incarnation that was never told its epoch asks for it again: the
//     controllers may have registered it;
//   - one that may have asked for leave to stop is over: the controllers would go on
//     to shut it down. The next one says whose data it has;
//   - any other goes on.
func Begin(enabled bool, dirs []Found, fresh kafka.UUID) Start {
	s := Start{ID: fresh, Epoch: kafka.NoBrokerEpoch, Previous: kafka.NoBrokerEpoch}
	if !enabled {
		s.Previous, s.Why = cleanEpoch(dirs), "kvorum.serve.without.quorum is off"
		return s
	}
	m, why := whole(dirs)
	switch {
	case m == nil:
		s.Why = why
		if !moved(dirs) {
			s.Previous = cleanEpoch(dirs)
		}
	case m.Epoch == kafka.NoBrokerEpoch:
		s.ID, s.Previous, s.Why = m.ID, m.Previous, "it was never told that it is registered"
	case m.Leaving && !planted.Is(planted.ResumeLeaving):
		s.Previous, s.Why = m.Epoch, "it had asked the controllers for leave to stop, so that its place was given away"
	default:
		s.ID, s.Epoch, s.Previous = m.ID, m.Epoch, m.Previous
	}
	return s
}

// cleanEpoch is the registration that closed all directories in order;
// kafka.NoBrokerEpoch if none did (KIP-966).
func cleanEpoch(dirs []Found) kafka.BrokerEpoch {
	epoch, seen := kafka.NoBrokerEpoch, false
	for _, d := range dirs {
		switch {
		case d.Synced:
			continue // it has no mark of a clean stop
		case !d.Clean, seen && d.CleanEpoch != epoch:
			return kafka.NoBrokerEpoch
		}
		epoch, seen = d.CleanEpoch, true
	}
	return epoch
}

// moved reports whether a directory is a copy of one that was closed in order by an
// incarnation that may have gone on elsewhere with the same epoch: its mark of a
// clean stop does not say that nothing is missing.
func moved(dirs []Found) bool {
	return slices.ContainsFunc(dirs, func(d Found) bool {
		return d.Clean && d.Memory != nil && !d.Memory.Leaving && d.Place.Known() && !d.Memory.Place.sameFile(d.Place)
	})
}

// whole returns what the directories remember if they are intact: all belong to one
// incarnation, and nothing that this one has written is missing in any of them.
// Otherwise it says why not.
func whole(dirs []Found) (*Memory, string) {
	var first *Memory
	for _, d := range dirs {
		if why := d.lacks(); why != "" {
			return nil, d.Path + ": " + why
		}
		if first == nil {
			first = d.Memory
		}
		if m := d.Memory; m.ID != first.ID || m.Epoch != first.Epoch || m.Previous != first.Previous || m.Leaving != first.Leaving {
			return nil, fmt.Sprintf("%s: it is of incarnation %s with epoch %d, and %s of %s with %d", d.Path, m.ID, m.Epoch, dirs[0].Path, first.ID, first.Epoch)
		}
	}
	for _, d := range dirs {
		for _, other := range dirs {
			if !slices.Contains(d.Memory.Directories, other.ID) && !planted.Is(planted.ForgetFailure) {
				return nil, fmt.Sprintf("%s: it was not in order, or not there, when %s was written last", other.Path, d.Path)
			}
		}
	}
	return first, ""
}

// lacks says why a directory is not intact; empty: it is.
func (d *Found) lacks() string {
	switch m := d.Memory; {
	case d.Unusable != "":
		return d.Unusable
	case m == nil && d.Damage != "":
		return d.Damage
	case m == nil:
		return "it does not say as which incarnation of the broker it was written"
	case !d.Place.Known():
		return "this system does not tell whether the machine was started anew"
	case !m.Place.sameFile(d.Place):
		return "it is not the directory that the broker had, but a copy, or on another device"
	case d.Clean && d.CleanEpoch == m.Epoch, d.Synced:
		return ""
	case d.Clean:
		return fmt.Sprintf("another program has closed it, as registration %d", d.CleanEpoch)
	case m.Place.Boot != d.Place.Boot && !planted.Is(planted.ResumeAfterPowerLoss):
		return "the machine was started anew without a clean stop of the broker, so that what was not on the disk is lost"
	case m.Place.Namespace == d.Place.Namespace && m.Place.Mount != d.Place.Mount:
		return "its file system was unmounted and mounted again without a clean stop of the broker"
	}
	return ""
}

// sameFile reports whether two places are the same file. Device numbers may be given
// anew at a boot.
func (p Place) sameFile(q Place) bool {
	return p.Inode == q.Inode && p.Born == q.Born && (p.Device == q.Device || p.Boot != q.Boot)
}

// Serves says whether a broker that goes on may serve from an image that no
// controller has confirmed; r is its registration there, nil for none. If not, why
// is for a person.
func (s Start) Serves(r *Registration) (ok bool, why string) {
	switch {
	case !s.Resumes():
		return false, s.Why
	case planted.Is(planted.ServeUnregistered):
		return true, ""
	case r == nil:
		return false, "its copy of the metadata log does not know this broker"
	case r.ID != s.ID || r.Epoch != s.Epoch:
		return false, fmt.Sprintf("its copy of the metadata log has it as incarnation %s with epoch %d, and it is %s with %d", r.ID, r.Epoch, s.ID, s.Epoch)
	case r.Leaving:
		return false, "it is in controlled shutdown in its copy of the metadata log"
	case r.Fenced:
		return false, "it is fenced in its copy of the metadata log"
	case !r.Same:
		return false, "its listeners, log directories, rack or version are not those that it is registered with"
	}
	return true, ""
}
