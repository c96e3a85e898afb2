package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// A unit that is a service has one service of Cloud Run, whose URL never changes. A task is a revision of it,
// whose name follows from the task and a token. All requests go to one revision: the former one until the new one
// was seen ready. The versions of a release are in one revision, so that a step of the release moves nothing here.
//
// Nothing is made twice: a service is read before it is changed, and Google refuses a change if it was changed meanwhile.

// noteGone is the annotation of a service that names its revisions which are given up and that Cloud Run does not
// remove yet, because they are the newest.
const noteGone = "tenon.dev/gone"

// suffixes is how many characters the token of a revision has: its name has at most 63.
const suffixes = 4

// revisionOf completes the state of a task with what names its service and, without the token, its revision.
func (e *Executor) revisionOf(st *taskState, unit string) {
	sum := e.runName(st.Name)
	st.Service = e.names().service(unit)
	st.Run = st.Service + "-" + sum[len(sum)-8:]
}

// findService completes the state of a task with that of its service, and reports whether that has, or is about to
// have, its revision. It returns the service, or nil if there is none.
func (e *Executor) findService(ctx context.Context, st *taskState) (*runService, bool, error) {
	s := &runService{}
	there, err := e.client.get(ctx, st.service(), s)
	if err != nil || !there {
		return nil, false, err
	}
	if err := st.owns(s); err != nil {
		return nil, false, err
	}
	if t := s.Template; t != nil && t.Annotations[noteTask] == st.Name && !gone(s, t.Revision) {
		st.takeRevision(s, t.Revision, t.Annotations[noteToken])
		return s, true, nil
	}
	all, err := e.client.listRevisions(ctx, *st)
	if err != nil {
		return nil, false, err
	}
	for _, r := range all {
		name := short(r.Name)
		if token, is := strings.CutPrefix(name, st.Run+"-"); is && !gone(s, name) {
			st.takeRevision(s, name, token)
			return s, true, nil
		}
	}
	return s, false, nil
}

// owns returns an error if a service was not made for the unit and the state of a task.
func (st taskState) owns(s *runService) error {
	a := s.Annotations
	if a[noteUnit] == "" {
		return fmt.Errorf("the region %s has a service %s that tenon apply has not made: remove it or choose another prefix", st.Region, st.Service)
	}
	if a[noteUnit] != st.Unit || a[noteState] != st.State {
		return fmt.Errorf("the region %s already has the service %s of %s of another state: choose another prefix or region", st.Region, st.Service, a[noteUnit])
	}
	return nil
}

// gone reports whether a revision was given up.
func gone(s *runService, revision string) bool {
	return revision != "" && slices.Contains(strings.Split(s.Annotations[noteGone], ","), revision)
}

// takeRevision completes the state of a task with what is known of its revision.
func (st *taskState) takeRevision(s *runService, revision, token string) {
	st.Token, st.Root, st.URL = token, cmp.Or(s.Annotations[noteRoot], st.Root), s.URI
	st.Idle = s.Scaling == nil || s.Scaling.Least == 0
	st.Run = strings.TrimSuffix(revision, "-"+token)
}

// searchService completes the state of a task with what the region has of it, given its name.
func (e *Executor) searchService(ctx context.Context, st *taskState) (bool, error) {
	all, err := e.client.listServices(ctx, *st)
	if err != nil {
		return false, err
	}
	for _, s := range all {
		unit := s.Annotations[noteUnit]
		if unit == "" || s.Annotations[noteState] != e.opts.State {
			continue
		}
		now := *st
		if now.Unit, now.State = unit, e.opts.State; e.names().service(unit) != short(s.Name) {
			continue
		}
		e.revisionOf(&now, unit)
		if _, there, err := e.findService(ctx, &now); err != nil || there {
			*st = now
			return there, err
		}
	}
	return false, nil
}

// deploy makes the revision of a task, or finds it. It gets no requests before [Executor.promote], unless it is the
// first one.
func (e *Executor) deploy(ctx context.Context, st *taskState, t executors.Task) error {
	e.revisionOf(st, t.Unit.ID)
	if _, there, err := e.findService(ctx, st); err != nil || there && st.URL != "" {
		return err
	} else if there {
		return e.located(ctx, st)
	}
	st.Token = newToken()[:suffixes]
	var image string
	var secrets []runEnv
	bucket := e.bucket(*st)
	if _, err := e.codeOf(ctx, *st); err != nil {
		return err
	}
	task, err := bucket.Send(ctx, t,
		func(ctx context.Context) (err error) {
			image, err = e.images.Of(ctx, t, e.names().registry())
			return err
		},
		func(ctx context.Context) (err error) {
			secrets, err = e.secrets(ctx, t)
			return err
		},
		func(ctx context.Context) error {
			if t.Route == nil {
				return nil
			}
			return e.run(*st).PutRoute(ctx, *t.Route)
		})
	if err != nil {
		return err
	}
	task.Name, task.Grace, task.Places = st.start(), e.opts.Grace, bucket.Places(t)
	command, err := bucket.Command(ctx, st.Unit, task, pod.Work+"/end")
	if err != nil {
		return err
	}
	want := e.serviceOf(*st, t, image, command, secrets)
	return e.until(ctx, "make "+st.start(), func(ctx context.Context) (bool, error) {
		now := *st
		s, there, err := e.findService(ctx, &now)
		switch {
		case err != nil:
			return false, err
		case there:
			*st = now
			return st.URL != "", nil // which a new service gets a little later
		case s == nil:
			_, err = e.client.createService(ctx, *st, want)
			return false, exhausted(err)
		}
		want.Etag, want.Traffic = s.Etag, pinned(s)
		if left := s.Annotations[noteGone]; left != "" {
			want.Annotations[noteGone] = left
		}
		_, err = e.client.changeService(ctx, *st, want, "labels", "annotations", "scaling", "template", "traffic")
		return false, exhausted(err)
	})
}

// located completes the state of a task whose service was made a moment ago, by an apply that was killed.
func (e *Executor) located(ctx context.Context, st *taskState) error {
	return e.until(ctx, "find the URL of "+st.Service, func(ctx context.Context) (bool, error) {
		now := *st
		_, there, err := e.findService(ctx, &now)
		if err == nil && !there {
			err = errors.New("its service was removed outside tenon: apply again")
		}
		if err != nil {
			return false, err
		}
		*st = now
		return st.URL != "", nil
	})
}

// pinned returns where requests go now, so that another revision gets none.
func pinned(s *runService) []runTraffic {
	for _, t := range s.Traffic {
		if t.Type == toRevision && t.Percent == 100 {
			return s.Traffic
		}
	}
	if s.Template == nil || s.Template.Revision == "" {
		return s.Traffic
	}
	return allTo(s.Template.Revision) // which the first one has, as the newest
}

// serviceOf returns the service of a task's unit, with the revision of the task.
func (e *Executor) serviceOf(st taskState, t executors.Task, image string, command []string, secrets []runEnv) runService {
	w := e.names()
	labels := w.labels()
	labels["tenon-unit"] = labelOf(st.Unit)
	notes := map[string]string{noteUnit: st.Unit, noteRoot: st.Root}
	if e.opts.State != "" {
		notes[noteState] = e.opts.State
	}
	u := t.Unit
	size, _ := containerOf(u.Needs)
	least, most := cloud.Replicas(u.Endpoint)
	idle := u.Release == nil && size.gpu == nil // an instance without requests looks at its route, and a GPU is always billed with its cores
	c := runContainer{
		Image: image, Command: command[:1], Args: command[1:], Env: secrets, Ports: []runPort{{u.Endpoint.Port}},
		Resources:    runResources{Limits: size.limits(), Idle: &idle},
		StartupProbe: &runProbe{TCP: &runTCP{u.Endpoint.Port}, Period: probePeriod, Timeout: probePeriod, Failures: int(startTime / time.Second / probePeriod)},
	}
	if path := u.Endpoint.Ready; path != "" {
		c.StartupProbe.HTTP, c.StartupProbe.TCP = &runGet{path}, nil
	}
	template := &runRevisionSpec{
		Revision: st.start(), Labels: labels, Annotations: map[string]string{noteTask: st.Name, noteToken: st.Token},
		Scaling: runRevisionScale{most}, Containers: []runContainer{c}, ServiceAccount: w.email(st.Unit), Environment: "EXECUTION_ENVIRONMENT_GEN2",
	}
	template.Node, template.OneZone = size.node()
	if s := u.Endpoint.Scale; s != nil {
		template.Concurrency = s.InFlight
	}
	if !open(&u) {
		n := w.subnet()
		template.VPC = &runVPC{"ALL_TRAFFIC", []runInterface{{n.Network, n.Subnetwork}}}
	}
	return runService{
		Labels: labels, Annotations: notes, Ingress: "INGRESS_TRAFFIC_ALL", Scaling: &runServiceScale{least}, Template: template,
	}
}

// What Cloud Run allows: a startup probe fails after at most 240 s.
const (
	startTime   = 240 * time.Second
	probePeriod = 2 // seconds
)

// promote sends all requests to the revision of a task that is ready, and returns once that is so. Then it removes
// revisions that were given up.
func (e *Executor) promote(ctx context.Context, st taskState) error {
	return e.until(ctx, "send requests to "+st.start(), func(ctx context.Context) (bool, error) {
		s := runService{}
		there, err := e.client.get(ctx, st.service(), &s)
		if err != nil {
			return false, err
		}
		if !there {
			return false, errors.New("its service was removed outside tenon: apply again")
		}
		if len(s.Traffic) != 1 || s.Traffic[0] != allTo(st.start())[0] {
			_, err := e.client.changeService(ctx, st, runService{Etag: s.Etag, Traffic: allTo(st.start())}, "traffic")
			return false, err
		}
		if share(&s, st.start()) < 100 {
			return false, nil
		}
		left := s.Annotations[noteGone]
		if left == "" {
			return true, nil
		}
		for _, name := range strings.Split(left, ",") {
			if name == short(s.Latest) {
				return true, nil // a later task has it
			}
			if err := e.client.removeService(ctx, st.service()+"/revisions/"+name); err != nil {
				return false, err
			}
		}
		delete(s.Annotations, noteGone)
		_, err = e.client.changeService(ctx, st, runService{Etag: s.Etag, Annotations: s.Annotations}, "annotations")
		return false, err
	})
}

// share returns how many percent of the requests go to a revision.
func share(s *runService, revision string) (percent int) {
	for _, t := range s.TrafficStatuses {
		if t.Revision == revision || t.Type == toLatest && short(s.Latest) == revision {
			percent += t.Percent
		}
	}
	return percent
}

// until calls do until it is done.
func (e *Executor) until(ctx context.Context, what string, do func(context.Context) (bool, error)) error {
	return e.within(ctx, endPatience, what, do)
}

// within is until for at most some time.
func (e *Executor) within(ctx context.Context, most time.Duration, what string, do func(context.Context) (bool, error)) error {
	return e.opts.Until(ctx, most, fmt.Errorf("%s: Google Cloud has not done it within %s: see its console, and try again", what, most), do)
}

// withdraw removes the revision of a task, and with the last one its service. Requests of a revision that is given up
// after it was promoted go to another one, if there is one.
func (e *Executor) withdraw(ctx context.Context, st taskState) error {
	drained := false
	return e.until(ctx, "remove "+st.start(), func(ctx context.Context) (bool, error) {
		s := runService{}
		there, err := e.client.get(ctx, st.service(), &s)
		if err != nil || !there || st.owns(&s) != nil {
			return true, err
		}
		all, err := e.client.listRevisions(ctx, st)
		if err != nil {
			return false, err
		}
		planned := s.Template != nil && s.Template.Revision == st.start()
		own, others := planned, []string(nil) // others are those of other tasks, the oldest first
		slices.SortStableFunc(all, func(a, b runRevision) int { return a.CreateTime.Compare(b.CreateTime) })
		for _, r := range all {
			switch name := short(r.Name); {
			case name == st.start():
				own = true
			case !gone(&s, name):
				others = append(others, name)
			}
		}
		if t := s.Template; t != nil && !planned && t.Revision != "" && !gone(&s, t.Revision) && !slices.Contains(others, t.Revision) {
			others = append(others, t.Revision)
		}
		switch {
		case !own || gone(&s, st.start()):
			return true, nil
		case len(others) == 0:
			return false, e.client.removeService(ctx, st.service())
		case slices.ContainsFunc(s.Traffic, func(t runTraffic) bool { return t.Revision == st.start() || t.Type == toLatest && planned }):
			_, err := e.client.changeService(ctx, st, runService{Etag: s.Etag, Traffic: allTo(others[len(others)-1])}, "traffic")
			return false, err
		case share(&s, st.start()) > 0:
			return false, nil
		case !drained: // until no part of Cloud Run sends requests there, and those that it has are answered
			drained = true
			return false, cloud.Sleep(ctx, e.opts.Drain)
		case planned || short(s.Latest) == st.start():
			s.Annotations[noteGone] = strings.TrimPrefix(s.Annotations[noteGone]+","+st.start(), ",")
			_, err := e.client.changeService(ctx, st, runService{Etag: s.Etag, Annotations: s.Annotations}, "annotations")
			return false, err
		}
		return false, e.client.removeService(ctx, st.revision())
	})
}
