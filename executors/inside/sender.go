package inside

import (
	"context"
	"os"
	"sync"

	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// A Sender uploads what containers need. It does not look again for what it has seen in a store.
type Sender struct {
	mu   sync.Mutex
	sent map[string]artifact.Ref // by store and digest
}

// Put makes sure that something is in the store.
func (s *Sender) Put(ctx context.Context, to *remote.Store, p Passage) (artifact.Ref, error) {
	key := to.String() + " " + p.Digest
	if p.Digest != "" {
		s.mu.Lock()
		ref, sent := s.sent[key]
		s.mu.Unlock()
		if sent {
			return ref, nil
		}
	}
	ref, err := lookUp(ctx, to, p)
	if err == nil && ref.Digest == "" {
		ref, err = to.Put(ctx, p.From)
	}
	if err == nil && ref.Digest == p.Digest {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sent == nil {
			s.sent = map[string]artifact.Ref{}
		}
		s.sent[key] = ref
	}
	return ref, err
}

// lookUp finds an artifact in the store by its local digest, so that it need not be
// read.
func lookUp(ctx context.Context, s *remote.Store, p Passage) (artifact.Ref, error) {
	if _, ok := artifact.Hex(p.Digest); !ok {
		return artifact.Ref{}, nil
	}
	info, err := os.Stat(p.From)
	if err != nil {
		return artifact.Ref{}, err
	}
	ref := artifact.Ref{Digest: p.Digest, Dir: info.IsDir()}
	if !ref.Dir {
		ref.Size = info.Size()
	}
	there, err := s.Has(ctx, ref)
	if err != nil || !there {
		return artifact.Ref{}, err
	}
	return ref, nil
}
