// node docs/examples/discover.mjs http://127.0.0.1:8470
import { discover } from 'gridring/servients/discovery';
import { withWot } from 'gridring/servients/with-wot';

await withWot(10_000, async (wot) => {
  const things = discover({
    directory: process.argv[2],
    wot,
    onChange: (id) => console.log(`${id} has changed`),
  });
  for (const { id } of await things.find((td) => td.properties?.keyStatus !== undefined)) {
    const thing = await things.thing(id);
    const { groups } = await (await thing.readProperty('keyStatus')).value();
    console.log(`${id}: epoch ${groups[0]?.epoch}, known for sure ${things.ageMs(id)} ms ago`);
  }
  things.close();
});
