// What a person does with @xmpp/client, one journey each; the runner picks one by name.
import assert from "node:assert/strict";
import { Person, befriend, xml } from "./person.mjs";

const ROSTER = "jabber:iq:roster";
const CARBONS = "urn:xmpp:carbons:2";
const MAM = "urn:xmpp:mam:2";
const BLOCKING = "urn:xmpp:blocking";

export async function login(place) {
  const [user] = place.users;
  const person = await new Person(place, user).login();
  assert.equal(person.full, `${user}@${place.domain}/js`);
  assert.ok(person.xmpp.isSecure());
  await person.settle();
  await person.leave();
}

export async function loginDirectTls(place) {
  const person = await new Person(place, place.users[0], { tls: true }).login();
  assert.ok(person.xmpp.isSecure());
  await person.settle();
  await person.leave();
}

export async function wrongPassword(place) {
  const person = new Person(place, place.users[0], { password: "not the password" });
  await assert.rejects(person.login(), { name: "SASLError", condition: "not-authorized" });
  person.xmpp.reconnect.stop();
  await person.leave().catch(() => {});
}

export async function roster(place) {
  const [user] = place.users;
  const desk = await new Person(place, user, { resource: "desk" }).online();
  const phone = await new Person(place, user, { resource: "phone" }).online();
  const item = { jid: "colleague@example.com", name: "A Colleague" };
  await desk.ask("set", xml("query", { xmlns: ROSTER }, xml("item", item, xml("group", {}, "Work"))));
  const push = await phone.saw("iq", (iq) => iq.attrs.type === "set" && iq.getChild("query", ROSTER));
  const pushed = push.getChild("query").getChild("item");
  assert.deepEqual([pushed.attrs.name, pushed.getChildText("group")], ["A Colleague", "Work"]);
  await desk.ask("set", xml("query", { xmlns: ROSTER }, xml("item", { ...item, subscription: "remove" })));
  const list = await phone.ask("get", xml("query", { xmlns: ROSTER }));
  assert.equal(list.getChild("query").getChild("item"), undefined);
  await Promise.all([desk.leave(), phone.leave()]);
}

export async function subscribeAndPresence(place) {
  const [alice, bob] = await everybody(place);
  await befriend(alice, bob);
  const list = await alice.ask("get", xml("query", { xmlns: ROSTER }));
  const { jid, subscription } = list.getChild("query").getChild("item").attrs;
  assert.deepEqual([jid, subscription], [bob.bare, "both"]);
  await bob.send(xml("presence", {}, xml("show", {}, "dnd"), xml("status", {}, "in a meeting")));
  const seen = await alice.saw("presence", (stanza) => stanza.getChildText("show") === "dnd");
  assert.equal(seen.getChildText("status"), "in a meeting");
  await bob.leave();
  await alice.sawPresence("unavailable", bob.bare);
  await alice.leave();
}

export async function deny(place) {
  const [alice, bob] = await everybody(place);
  await alice.send(xml("presence", { to: bob.bare, type: "subscribe" }));
  await bob.sawPresence("subscribe", alice.bare);
  await bob.send(xml("presence", { to: alice.bare, type: "unsubscribed" }));
  await alice.sawPresence("unsubscribed", bob.bare);
  assert.ok(!alice.has("presence", (stanza) => !stanza.attrs.type && stanza.attrs.from === bob.full));
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function chat(place) {
  const [alice, bob] = await everybody(place);
  await alice.say(bob.bare, "to the person");
  assert.equal((await bob.sawMessage("to the person")).attrs.from, alice.full);
  await bob.say(alice.full, "to the client & <back> 😀");
  assert.equal((await alice.sawMessage("to the client & <back> 😀")).attrs.from, bob.full);
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function carbons(place) {
  const [user, peer] = place.users;
  const desk = await new Person(place, user, { resource: "desk" }).online();
  const phone = await new Person(place, user, { resource: "phone" }).online();
  const bob = await new Person(place, peer).online();
  await phone.ask("set", xml("enable", { xmlns: CARBONS }));
  await desk.say(bob.full, "sent from the desk");
  const sent = await phone.saw("message", (stanza) => stanza.getChild("sent", CARBONS));
  assert.equal(copied(sent.getChild("sent")).getChildText("body"), "sent from the desk");
  await bob.say(desk.full, "answer to the desk");
  const received = await phone.saw("message", (stanza) => stanza.getChild("received", CARBONS));
  assert.equal(received.attrs.from, phone.bare);
  assert.equal(copied(received.getChild("received")).getChildText("body"), "answer to the desk");
  await Promise.all([desk.leave(), phone.leave(), bob.leave()]);
}

export async function offline(place) {
  const [user, absent] = place.users;
  const alice = await new Person(place, user).online();
  for (const body of ["first", "second"]) await alice.say(`${absent}@${place.domain}`, body);
  await alice.settle();
  const bob = await new Person(place, absent).online();
  const first = await bob.sawMessage("first");
  assert.match(first.getChild("delay", "urn:xmpp:delay").attrs.stamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  await bob.sawMessage("second");
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function archive(place) {
  const [alice, bob] = await everybody(place);
  for (const body of ["one", "two", "three"]) await alice.say(bob.full, body);
  await bob.sawMessage("three");
  const page = xml("set", { xmlns: "http://jabber.org/protocol/rsm" }, xml("max", {}, "2"));
  const answer = await bob.ask("set", xml("query", { xmlns: MAM, queryid: "q" }, page));
  const results = bob.seen.filter((stanza) => stanza.getChild("result", MAM));
  const bodies = results.map((stanza) => copied(stanza.getChild("result")).getChildText("body"));
  assert.deepEqual(bodies, ["one", "two"]);
  assert.notEqual(answer.getChild("fin", MAM).attrs.complete, "true");
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function blocking(place) {
  const [alice, bob] = await everybody(place);
  await befriend(alice, bob);
  const item = () => xml("item", { jid: bob.bare });
  await alice.ask("set", xml("block", { xmlns: BLOCKING }, item()));
  await bob.sawPresence("unavailable", alice.bare);
  await bob.say(alice.bare, "are you there?");
  const error = await bob.saw("message", (stanza) => stanza.attrs.type === "error");
  assert.ok(error.getChild("error").getChild("service-unavailable"));
  const list = await alice.ask("get", xml("blocklist", { xmlns: BLOCKING }));
  assert.equal(list.getChild("blocklist").getChild("item").attrs.jid, bob.bare);
  await alice.ask("set", xml("unblock", { xmlns: BLOCKING }, item()));
  await bob.sawPresence(undefined, alice.bare);
  await bob.say(alice.bare, "again?");
  await alice.sawMessage("again?");
  assert.ok(!alice.has("message", (stanza) => stanza.getChildText("body") === "are you there?"));
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function resume(place) {
  const [alice, bob] = await everybody(place);
  await befriend(alice, bob);
  const { full } = alice;
  const { id } = alice.xmpp.streamManagement;
  assert.ok(id);
  bob.seen.length = 0;
  const resumed = alice.until(alice.xmpp.streamManagement, "resumed");
  alice.cut();
  await bob.say(full, "while you were away");
  await resumed;
  assert.deepEqual([alice.full, alice.xmpp.streamManagement.id], [full, id]);
  await alice.sawMessage("while you were away");
  await alice.say(bob.full, "back again");
  await bob.sawMessage("back again");
  assert.ok(!bob.has("presence", (stanza) => stanza.attrs.type === "unavailable"));
  await Promise.all([alice.leave(), bob.leave()]);
}

// A message that was on its way when the connection broke is sent again on the resumed stream.
export async function resumeSendsAgain(place) {
  const [alice, bob] = await everybody(place);
  const sm = alice.xmpp.streamManagement;
  const resumed = alice.until(sm, "resumed");
  const lost = xml("message", { to: bob.full, type: "chat" }, xml("body", {}, "on its way"));
  sm.outbound_q.push({ stanza: lost, stamp: new Date().toISOString() });
  alice.cut();
  await resumed;
  await bob.sawMessage("on its way");
  await Promise.all([alice.leave(), bob.leave()]);
}

export async function resumeRefused(place) {
  const [alice, bob] = await everybody(place);
  const sm = alice.xmpp.streamManagement;
  sm.id = "made-up-by-nobody";
  const online = alice.until(alice.xmpp, "online");
  alice.cut();
  await online;
  assert.notEqual(sm.id, "made-up-by-nobody");
  await alice.say(bob.full, "a new session");
  await bob.sawMessage("a new session");
  await Promise.all([alice.leave(), bob.leave()]);
}

function everybody(place) {
  return Promise.all(place.users.map((user) => new Person(place, user).online()));
}

function copied(holder) {
  return holder.getChild("forwarded", "urn:xmpp:forward:0").getChild("message", "jabber:client");
}
