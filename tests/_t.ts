import { openOwnFolder } from "../src/data/own_folder.ts";
import { openFolder } from "../src/data/folder.ts";
import { checkFiles, checkLabels, checkSamples } from "../src/data/check.ts";
import { readMask, readImage } from "../src/data/image.ts";
import { BrokenFiles } from "../src/data/broken.ts";
import { openInput } from "../src/training/session_data.ts";
const R="/tmp/q/data";
const t=async(n:string,f:()=>Promise<any>)=>{try{console.log(n,"=>",JSON.stringify(await f()));}catch(e){console.log(n,"!!",(e as Error).name,(e as Error).message)}};
for (const d of ["base","bin","gap","mac","mac2","mac3","dangling","dangling2","loop","loop2","tiny","broken","zero","one","low","stem"]) {
  await t(d, async()=>{const ds=await openOwnFolder({images:`${R}/${d}/im`,masks:`${R}/${d}/ma`,...(d==="bin"?{}:{}),val:.5,seed:2}); const b=new BrokenFiles(); await checkFiles(ds,{broken:b}); await checkSamples(ds,{broken:b}); await checkLabels(ds); return [ds.labeled.length,ds.unlabeled.length,ds.val.length,ds.classes.length,[...b.reasons.values()]]});
}
await t("bin fg", async()=>{const ds=await openOwnFolder({images:`${R}/bin/im`,masks:`${R}/bin/ma`,labels:"foreground"}); await checkSamples(ds); await checkLabels(ds); return [ds.classes,ds.labeled.length]});
await t("broken", async()=>{const ds=await openOwnFolder({images:`${R}/broken/im`,masks:`${R}/broken/ma`}); await checkFiles(ds);});
for (const f of ["labelmap.txt"]) await t("cvat",async()=>{const ds=await openOwnFolder({images:`${R}/cvat/im`,masks:`${R}/cvat/ma`,labels:`${R}/cvat/${f}`}); await checkSamples(ds); return ds.classes});
for (const f of ["ade.txt","bom.csv","bom.json","class_dict.csv","comment.txt","dup.txt","numbered.txt","plain.csv","quoted.csv","semi.csv","tabs.txt","utf16.txt"]) await t(f,async()=>{const ds=await openOwnFolder({images:`${R}/csv/im`,masks:`${R}/csv/ma`,labels:`${R}/csv/${f}`}); await checkSamples(ds); return ds.classes.map(c=>c.name).join()});
for (const s of [...Deno.readDirSync(`${R}/voc/splits`)].map(e=>e.name).sort()) await t("voc "+s,async()=>{const ds=await openFolder(`${R}/voc`,{split:s}); await checkFiles(ds); await checkSamples(ds); return [ds.labeled.length,ds.unlabeled.length,ds.val.length]});
for (const m of [...Deno.readDirSync(`${R}/masks`)].map(e=>e.name).sort()) if(!/npy/.test(m)) await t("mask "+m,async()=>[...new Set((await readMask(`${R}/masks/${m}`)).data)]);
for (const m of [...Deno.readDirSync(`${R}/kinds`)].map(e=>e.name).sort()) await t("img "+m,async()=>{const i=await readImage(`${R}/kinds/${m}`);return [i.width,i.height]});
await t("input", ()=>openInput(`${R}/mac/im`));
