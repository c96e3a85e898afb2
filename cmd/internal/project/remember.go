package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// remembered reads what other systems have recorded, each in the folder of its system or state, or in a database.
func remembered(ctx context.Context, places []string) (all []*planner.Recorded, err error) {
	for _, place := range places {
		p, err := remember(ctx, place)
		if err != nil {
			return nil, fmt.Errorf("--like %s: %w", state.Shown(place), err)
		}
		all = append(all, p)
	}
	return all, nil
}

func remember(ctx context.Context, place string) (found *planner.Recorded, err error) {
	where, there := place, false
	candidates := []string{place}
	if !state.IsURL(place) {
		candidates = []string{filepath.Join(place, ".tenon"), place}
	}
	for _, where = range candidates {
		if there, err = state.Exists(ctx, where); there || err != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, &RequestError{errors.New("no state is there: name the folder of a system that was applied, of its state, or the URL of its state")}
	}
	s, err := state.OpenOther(ctx, where)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	names, err := s.Environments(ctx)
	if err != nil {
		return nil, err
	}
	envs := make([]planner.State, len(names))
	for i, name := range names {
		envs[i] = s.In(name)
	}
	return planner.Remember(ctx, state.Shown(place), envs)
}
