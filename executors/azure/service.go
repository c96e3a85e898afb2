package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// A unit that is a service has one app of Container Apps, whose URL never changes. A task is a revision of it, whose
// name follows from the task and a token. All requests go to one revision: the former one until the new one was seen
// ready. The versions of a release are in one revision, so that a step of the release moves nothing here.
//
// Nothing is made twice: an app is looked at before it is changed, Azure refuses a change while it works on another,
// and no two revisions have the same name.

// tagServes is the tag of an app with the name of the revision that was ready and got all requests.
const tagServes = "tenon-serves"

// suffixes is how many characters the token of a revision has: the name of an app has at most 32, and that of a
// revision 64.
const suffixes = 4

// revisionOf completes the state of a task with what names its app and, without the token, its revision.
func (e *Executor) revisionOf(st *taskState, unit string) {
	st.Service = e.names().service(unit)
	job := e.named(st.Name).Run
	st.Run = st.Service + "--t" + job[len(job)-8:]
}

// findService completes the state of a task with that of its app, and reports whether that has, or is about to have, a
// revision of it. An app that could not be made with its first revision has it too, so that it is removed. It returns
// the app, or nil if there is none, and whether Azure has the revision.
func (e *Executor) findService(ctx context.Context, st *taskState) (a *app, there, made bool, err error) {
	a = &app{}
	if there, err = e.client.app(ctx, *st, a); err != nil || !there {
		return nil, false, false, err
	}
	if err = st.ownsApp(a); err != nil {
		return nil, false, false, err
	}
	all, err := e.client.revisions(ctx, *st)
	if err != nil {
		return nil, false, false, err
	}
	others := false
	for _, r := range all {
		if r.gone() {
			continue
		}
		if token, is := strings.CutPrefix(r.Name, st.Run+"-"); is {
			st.takeRevision(a, token)
			return a, true, true, nil
		}
		others = true
	}
	token, is := strings.CutPrefix(st.Service+"--"+a.planned(), st.Run+"-")
	if is && (a.busy() || !others) && !slices.ContainsFunc(all, func(r revision) bool { return r.Name == st.Run+"-"+token }) {
		st.takeRevision(a, token)
		return a, true, false, nil
	}
	return a, false, false, nil
}

// owns returns an error if what has tags was not made for the unit and the state of a task: "app NAME".
func (st taskState) owns(what string, tags map[string]string) error {
	switch unit := tags[tagUnit]; {
	case unit == "":
		return fmt.Errorf("the resource group %s has an %s that tenon apply has not made: remove it or choose another prefix", st.Group, what)
	case unit != st.Unit || tags[tagState] != st.State:
		return fmt.Errorf("the resource group %s already has the %s of %s of another state: choose another prefix or resource group", st.Group, what, unit)
	}
	return nil
}

func (st taskState) ownsApp(a *app) error { return st.owns("app "+st.Service, a.Tags) }

// takeRevision completes the state of a task with what is known of its revision.
func (st *taskState) takeRevision(a *app, token string) {
	st.Token, st.URL = token, a.url()
	st.Root, st.Account = cmp.Or(a.Tags[tagRoot], st.Root), cmp.Or(a.Tags[tagAccount], st.Account)
	if t := a.Properties.Template; t != nil {
		st.Idle = t.Scale.Least == 0
	}
}

// searchService completes the state of a task with what the resource group has of it, given its name.
func (e *Executor) searchService(ctx context.Context, st *taskState) (bool, error) {
	all, err := list[app](ctx, e.client, "the apps of the resource group", st.apps())
	if err != nil {
		return false, err
	}
	for _, a := range all {
		unit := a.Tags[tagUnit]
		if unit == "" || a.Tags[tagState] != e.opts.State || e.names().service(unit) != a.Name {
			continue
		}
		now := *st
		now.Unit, now.State = unit, e.opts.State
		e.revisionOf(&now, unit)
		if _, there, _, err := e.findService(ctx, &now); err != nil || there {
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
	if done, err := e.settled(ctx, st); done || err != nil {
		return err
	}
	st.Token = newToken()[:suffixes]
	need, err := e.need(ctx, *st, t)
	if err != nil {
		return err
	}
	return e.until(ctx, "make "+st.start(), func(ctx context.Context) (bool, error) {
		now := *st
		a, _, made, err := e.findService(ctx, &now)
		if err != nil {
			return false, err
		}
		if a != nil && a.busy() {
			return false, nil
		}
		if made {
			*st = now
			return st.URL != "", nil
		}
		want := e.appOf(*st, t, need)
		if a != nil {
			err = e.beside(ctx, *st, a, &want)
		}
		if err == nil {
			_, err = e.put(ctx, *st, want)
		}
		if a == nil && err != nil && ctx.Err() == nil { // there is an app without a revision
			err = errors.Join(err, e.client.removeApp(context.WithoutCancel(ctx), *st))
		}
		return false, err
	})
}

// settled returns once Azure does not work on the app of a task, and whether it has the revision of the task then.
func (e *Executor) settled(ctx context.Context, st *taskState) (done bool, err error) {
	err = e.until(ctx, "look at "+st.Service, func(ctx context.Context) (bool, error) {
		a, _, made, err := e.findService(ctx, st)
		done = made && st.URL != ""
		return a == nil || !a.busy() && (done || !made), err
	})
	return done, err
}

// beside makes the app that is wanted another revision of one that there is: requests go where they went, and secrets
// of other revisions stay.
func (e *Executor) beside(ctx context.Context, st taskState, a *app, want *app) error {
	all, err := e.client.revisions(ctx, st)
	if err != nil {
		return err
	}
	lives, used := map[string]bool{}, map[string]bool{}
	for _, r := range all {
		if r.gone() {
			continue
		}
		lives[r.Name] = true
		for _, c := range r.Properties.Template.Containers {
			for _, env := range c.Env {
				used[env.Secret] = true
			}
		}
	}
	to := allTo(st.start())
	for _, t := range a.traffic() {
		if t.Weight == 100 && lives[t.Revision] {
			to = allTo(t.Revision)
		}
	}
	want.Properties.Configuration.Ingress.Traffic = to
	if serves := a.Tags[tagServes]; lives[serves] {
		want.Tags[tagServes] = serves
	}
	if c := a.Properties.Configuration; c != nil {
		for _, x := range c.Secrets {
			own := func(y appSecret) bool { return y.Name == x.Name }
			if used[x.Name] && !slices.ContainsFunc(want.Properties.Configuration.Secrets, own) {
				want.Properties.Configuration.Secrets = append(want.Properties.Configuration.Secrets, x)
			}
		}
	}
	return nil
}

// appOf returns the app of a task's unit, with the revision of the task.
func (e *Executor) appOf(st taskState, t executors.Task, need appNeeds) app {
	u := t.Unit
	tags := e.tagsOf(st)
	delete(tags, tagTask)
	delete(tags, tagToken)
	c, secrets := containerOf(t, need)
	least, most := cloud.Replicas(u.Endpoint)
	port := u.Endpoint.Port
	c.Probes = []appProbe{
		{Type: "Startup", TCP: &appTCP{port}, Period: startTime / tries, Timeout: probePeriod, Failures: tries},
		{Type: "Readiness", TCP: &appTCP{port}, Period: probePeriod, Timeout: probePeriod, Failures: tries},
	}
	if path := u.Endpoint.Ready; path != "" {
		c.Probes[1].HTTP, c.Probes[1].TCP = &appGet{path, port}, nil
	}
	template := &appRevision{
		Suffix: strings.TrimPrefix(st.start(), st.Service+"--"), Grace: killAfter, Containers: []appContainer{c}, Scale: appScale{Least: least, Most: most},
	}
	if s := u.Endpoint.Scale; s != nil && s.InFlight > 0 {
		template.Scale.Rules = []appRule{{"in-flight", appHTTP{map[string]string{"concurrentRequests": strconv.Itoa(s.InFlight)}}}}
	}
	external, insecure := e.opts.Ingress == External, false
	w := e.names()
	return app{
		Location: w.Location, Tags: tags, Identity: identified(need.identity),
		Properties: appService{
			Environment: w.id("Microsoft.App/managedEnvironments", w.environment(open(&u))), Profile: need.profile,
			Configuration: &appConfig{
				Mode: "Multiple", Registries: w.registries(need.identity), Secrets: secrets,
				Ingress: &appIngress{External: &external, Port: port, Insecure: &insecure, Traffic: allTo(st.start())},
			},
			Template: template,
		},
	}
}

// What Container Apps allow: ten failures of a probe. A container that does not listen after startTime is started
// again. One that was asked to end is killed after killAfter. All are in seconds.
const (
	startTime   = 240
	tries       = 10
	probePeriod = 2
	killAfter   = 30
)

// promote sends all requests to the revision of a task that is ready, and returns once that is so.
func (e *Executor) promote(ctx context.Context, st taskState) error {
	return e.until(ctx, "send requests to "+st.start(), func(ctx context.Context) (bool, error) {
		a := app{}
		there, err := e.client.app(ctx, st, &a)
		switch {
		case err != nil:
			return false, err
		case !there:
			return false, errors.New("its app was removed outside tenon: apply again")
		case a.busy():
			return false, nil
		case slices.Equal(a.traffic(), allTo(st.start())) && a.Tags[tagServes] == st.start():
			return true, nil
		}
		return false, e.lead(ctx, st, a, st.start())
	})
}

// lead sends all requests to a revision.
func (e *Executor) lead(ctx context.Context, st taskState, a app, to string) error {
	a.Tags[tagServes] = to
	_, err := e.client.patch(ctx, st, app{Tags: a.Tags, Properties: appService{Configuration: &appConfig{Ingress: &appIngress{Traffic: allTo(to)}}}})
	return err
}

// until calls do until it is done.
func (e *Executor) until(ctx context.Context, what string, do func(context.Context) (bool, error)) error {
	return e.within(ctx, makePatience, what, do)
}

func (e *Executor) within(ctx context.Context, limit time.Duration, what string, do func(context.Context) (bool, error)) error {
	return e.opts.Until(ctx, limit, fmt.Errorf("%s: Azure has not done it within %s: see the portal, and try again", what, limit), do)
}

// makePatience is how long Azure may take for a change of an app.
const makePatience = 10 * time.Minute

// withdraw ends the revision of a task, and removes its app with the last one. Requests of a revision that is given up
// after it was promoted go to another one, if there is one.
func (e *Executor) withdraw(ctx context.Context, st taskState) error {
	drained := false
	return e.until(ctx, "remove "+st.start(), func(ctx context.Context) (bool, error) {
		a := app{}
		there, err := e.client.app(ctx, st, &a)
		if err != nil || !there || st.ownsApp(&a) != nil {
			return true, err
		}
		if a.busy() {
			return false, nil
		}
		all, err := e.client.revisions(ctx, st)
		if err != nil {
			return false, err
		}
		own, others := false, []string(nil) // others are those of other tasks, the oldest first
		slices.SortStableFunc(all, func(a, b revision) int { return a.Properties.Created.Compare(b.Properties.Created) })
		for _, r := range all {
			switch {
			case r.gone():
			case r.Name == st.start():
				own = true
			default:
				others = append(others, r.Name)
			}
		}
		switch {
		case len(others) == 0:
			return false, e.client.removeApp(ctx, st)
		case !own:
			return true, nil
		case slices.ContainsFunc(a.traffic(), func(t appTraffic) bool { return t.Revision == st.start() }):
			return false, e.lead(ctx, st, a, others[len(others)-1])
		case !drained: // until no part of Container Apps sends requests there, and those that it has are answered
			drained = true
			return false, cloud.Sleep(ctx, e.opts.Drain)
		}
		return false, e.client.deactivate(ctx, st)
	})
}
