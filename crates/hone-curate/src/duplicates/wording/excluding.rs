//! Words of which one excludes the other where it stands in its place: opposites, units, colours, languages, kin.
//!
//! `purchase` for `buy` says the same, `sell` does not, and no rule of spelling tells them apart. So words that exclude
//! each other stand here, group by group.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use crate::hashes::Hashed;
use crate::text::hash;

/// Do two words, given as hashes, exclude each other?
pub(super) fn exclude_each_other(a: u64, b: u64) -> bool {
    let of = |word: u64| MEMBERS.get(&word).map_or(&[] as &[Member], Vec::as_slice);
    let excludes = |mine: &Member, theirs: &Member| mine.0 == theirs.0 && mine.1 != theirs.1;
    of(a)
        .iter()
        .any(|mine| of(b).iter().any(|theirs| excludes(mine, theirs)))
}

/// A group, and which of its members a word is.
type Member = (u16, u8);

/// What each word is, by its hash.
static MEMBERS: LazyLock<HashMap<u64, Vec<Member>, BuildHasherDefault<Hashed>>> =
    LazyLock::new(|| {
        let mut members: HashMap<u64, Vec<Member>, _> = HashMap::default();
        for (group, words) in (0..).zip(GROUPS.split(';')) {
            for (number, member) in (0..).zip(words.split_whitespace()) {
                for word in member.split('=') {
                    let of_word = members.entry(hash(word.as_bytes())).or_default();
                    of_word.push((group, number));
                }
            }
        }
        members
    });

/// Groups; what `=` joins may stand for each other. Words are written as they are compared, without capitals and accents.
const GROUPS: &str = "\
    mg g kg mcg ml cl dl l mm cm dm m km in ft yd mi oz lb=lbs gal pt qt; milligrams grams kilograms millilitres=milliliters \
    litres=liters millimetres=millimeters centimetres=centimeters metres=meters kilometres=kilometers inches feet yards miles ounces \
    pounds gallons; celsius fahrenheit kelvin; am pm; hz khz mhz ghz; kb mb gb tb; kbps mbps gbps; volts amperes watts ohms; seconds \
    minutes hours days weeks months years; second minute hour day week month year; daily weekly monthly yearly hourly annually; \
    dollars euros pounds francs yen=yuan rupees roubles=rubles pesos; cents pence; usd eur gbp chf jpy cny inr; bc ad; roman greek \
    egyptian; red orange yellow green blue=turquoise purple=violet pink brown=beige black white grey=gray; gold silver bronze copper \
    iron steel lead tin zinc aluminium=aluminum brass platinum nickel; english french german spanish italian portuguese dutch \
    russian polish czech greek turkish arabic hebrew hindi bengali urdu persian chinese=mandarin=cantonese japanese korean \
    vietnamese thai swedish norwegian danish finnish hungarian romanian ukrainian latin swahili; python java javascript typescript \
    ruby perl php rust go golang c kotlin swift scala haskell lua julia r matlab fortran cobol bash powershell sql html css elixir \
    erlang clojure; linux windows macos android ios freebsd; json yaml xml csv toml; mysql postgres=postgresql sqlite mongodb redis; \
    get post put delete patch; int float string bool=boolean; chrome firefox safari; spring summer autumn=fall winter; morning \
    afternoon evening night noon midnight; breakfast lunch dinner=supper; today tomorrow yesterday; tonight yesterday; weekday \
    weekend; dawn dusk; sunrise sunset; brother sister; son daughter; uncle aunt; nephew niece; husband wife; grandfather \
    grandmother; king queen; prince princess; boys girls; men women; sons daughters; brothers sisters; father mother; dad mum=mom; \
    bride groom; actor actress; himself herself; lord lady; widow widower; sir madam; teacher nurse doctor lawyer farmer baker \
    butcher plumber electrician carpenter painter tailor soldier sailor pilot driver cook waiter waitress engineer architect dentist \
    judge journalist singer dancer priest; dog cat horse cow pig sheep goat chicken duck goose rabbit mouse=rat lion tiger bear wolf \
    fox deer elephant monkey snake frog fish bird bee spider camel donkey; dogs cats horses cows pigs sheep goats chickens ducks \
    geese rabbits mice rats lions tigers bears wolves foxes; apple pear banana cherry grape lemon lime melon peach plum mango \
    strawberry; apples pears bananas cherries grapes lemons limes melons peaches plums mangoes strawberries; onion garlic carrot \
    potato tomato cucumber lettuce spinach cabbage pumpkin; onions carrots potatoes tomatoes cucumbers; tea coffee water milk beer \
    wine juice; beef pork lamb chicken fish; butter oil; salt sugar pepper; sweet sour salty bitter; bread rice pasta; flour sugar; \
    breakfast brunch; boiled fried baked grilled roasted steamed raw; head neck shoulder arm elbow wrist hand finger chest stomach \
    back hip leg knee ankle foot toe eye ear nose mouth; heart lung liver kidney brain; kitchen bathroom bedroom cellar attic garage \
    garden; door window roof floor wall; chair table bed; car bus train tram plane ship=boat bicycle=bike=motorcycle truck=lorry; \
    guitar piano violin=fiddle viola flute drums trumpet cello harp clarinet oboe bassoon saxophone trombone tuba organ accordion \
    banjo mandolin; sonata symphony concerto opera; soprano alto tenor baritone; oak beech birch pine fir spruce maple elm willow \
    poplar; rose tulip lily daisy sunflower orchid carnation; eagle hawk falcon owl sparrow crow raven swan pigeon stork gull; salmon \
    trout cod tuna herring carp shark whale dolphin; ant wasp beetle butterfly mosquito moth; crocodile alligator; turtle tortoise; \
    rabbit hare; cinnamon nutmeg ginger cumin paprika turmeric saffron; basil oregano thyme rosemary parsley; diamond ruby sapphire \
    emerald pearl opal; knife fork spoon; shirt trousers=pants jacket coat dress skirt sweater=jumper sock shoe hat glove scarf; \
    hammer saw screwdriver drill wrench=spanner pliers chisel; poem novel essay; measles mumps flu=influenza cholera malaria \
    tuberculosis; aspirin ibuprofen paracetamol=acetaminophen; artery vein; comet asteroid meteor; hurricane tornado earthquake; \
    stalactite stalagmite; latitude longitude; numerator denominator; mitosis meiosis; simile metaphor; concave convex; atom molecule; \
    virus bacterium fungus; \
    football tennis golf basketball baseball hockey rugby cricket swimming; \
    chess poker; wood stone glass plastic paper cotton wool silk; north south east west; northern southern eastern western; \
    northward southward; left right; top bottom; front back rear; upper lower; inner outer; inside outside; internal external; \
    upstairs downstairs; forward backward; forwards backwards; horizontal vertical; clockwise counterclockwise=anticlockwise; circle \
    square triangle rectangle; square cube; round square; mercury venus earth mars jupiter saturn uranus neptune; hydrogen oxygen \
    nitrogen carbon helium; proton neutron electron; physics chemistry biology; algebra geometry; noun verb adjective adverb; \
    singular plural; past present future; christian muslim jewish hindu buddhist; catholic protestant orthodox; democrat republican; \
    liberal conservative; socialist capitalist; monarchy republic democracy dictatorship; import export; inbound outbound; incoming \
    outgoing; buyer seller; lender borrower; landlord tenant; plaintiff defendant; employer employee; winner loser; host guest; \
    predator prey; victim culprit; mentor student; teacher pupil=student; doctor patient; client server; sender receiver; sender \
    recipient; attacker defender; author reader; cause effect; question answer; credit debit; asset liability; profit loss; supply \
    demand; income expense; gain loss; success failure; victory defeat; strength weakness; advantage disadvantage; friend enemy; \
    love hate=hatred; war peace; life death; birth death; start finish; beginning end; minimum maximum; majority minority; input \
    output; source target; upload download; hardware software; theory practice; fact fiction; truth lie; heaven hell; sun moon; land \
    sea; city village; ceiling floor; entrance exit; arrival departure; accept reject; accepted rejected; approve deny; approved \
    denied; admit deny; admitted denied; agree disagree; agreed disagreed; allow forbid=prohibit=ban; allowed \
    forbidden=prohibited=banned; permit prohibit; permitted prohibited; attack defend; attacked defended; build destroy; built \
    destroyed; create destroy=delete; created destroyed=deleted; bought sold; buys sells; buying selling; borrow lend; borrowed \
    lent; rent buy; rented bought; gain lose; gained lost; catch throw; caught thrown; pull push; pulled pushed; pulling pushing; \
    open close=shut; opened closed=shut; lock unlock; enter leave exit; entered left exited; enters leaves; arrive depart=leave; \
    arrived departed=left; arrives departs; come go; came went; give take; gave took; gives takes; given taken; send receive; sent \
    received; sends receives; teach learn; taught learnt=learned; ask answer; asked answered; laugh cry; laughed cried; live die; \
    lived died; lives dies; loved hated; loves hates; like dislike; liked disliked; win lose; won lost; wins loses; rise fall; rose \
    fell; rises falls; risen fallen; raise lower; raised lowered; grow shrink; grew shrank; expand contract=shrink; expanded \
    contracted; increase decrease=reduce; increased decreased=reduced; increases decreases=reduces; strengthen weaken; strengthened \
    weakened; improve worsen; improved worsened; accelerate brake; save spend=waste; saved spent=wasted; remember forget; remembered \
    forgot; find lose; found lost; hide show=reveal; hidden shown; shows hides; stand sit lie; stood sat; stay leave; stayed left; \
    stays leaves; stop continue; stopped continued; begin finish=end; began finished=ended; fill empty; filled emptied; freeze melt; \
    froze melted; heat cool; heated cooled; float sink; floated sank; succeed fail; succeeded failed; succeeds fails; pass fail; \
    passed failed; praise=criticize=blame criticise; praised criticised=criticized=blamed; support oppose; supported opposed; \
    supports opposes; reward punish; rewarded punished; hire fire; hired fired; marry divorce; married divorced; sleep wake; slept \
    woke; speak listen; read write; reads writes; wrote read; encrypt decrypt; encode decode; serialize deserialize; compress \
    decompress; sort shuffle; add subtract multiply divide; adds subtracts; added subtracted; append prepend; push pop; row column; \
    rows columns; ascending descending; prefix suffix; first last; older younger; elder younger; absent present; alive dead; ancient \
    modern; new old; newer older; young old; asleep awake; beautiful ugly; better worse; best worst; big small=little=tiny; bigger \
    smaller; large small; larger smaller; long short; longer shorter; tall short; taller shorter; wide narrow; wider narrower; thick \
    thin; thicker thinner; deep shallow; deeper shallower; heavy light; heavier lighter; blunt sharp; bold timid; brave cowardly; \
    bright dark=dim; brighter darker; broken intact; busy idle; calm nervous=stormy; careful careless; cheap expensive; cheaper \
    dearer; clean dirty; clear cloudy=vague; clever stupid; cold=cool hot warm; colder hotter warmer cooler; common rare; complete \
    incomplete; constant variable; correct wrong=incorrect; cruel kind; dangerous safe; dry wet; drier wetter; easy difficult=hard; \
    easier harder; empty full; even odd; evil good; excellent terrible poor; wonderful terrible=awful=horrible; great terrible; fair \
    unfair; fake real=genuine; false true; famous unknown; fast slow; faster slower; quick slow; quicker slower; quickly slowly; fat \
    thin; fertile barren; final initial; fixed mobile; foreign domestic native; free occupied; fresh stale=rotten; frequent rare; \
    frequently rarely; generous stingy; gentle rough; guilty innocent; happy sad=unhappy; happily sadly; hard soft; harder softer; \
    healthy sick=ill; heavy lightweight; high low; higher lower; honest dishonest; huge tiny; humble arrogant=proud; legal illegal; \
    lazy diligent=hardworking; left married; lively dull; loose tight; loud quiet=silent; louder quieter; loudly quietly; major \
    minor; male female; many few; mature immature; natural artificial; near far; nearer farther; noisy quiet; normal abnormal; \
    optional mandatory=required; optimistic pessimistic; optimist pessimist; passive active; permanent temporary; permanently \
    temporarily; pleasant unpleasant; polite rude; poor rich=wealthy; private public; privately publicly; probable unlikely; likely \
    unlikely; rare frequent; ripe unripe; rough smooth; rural urban; senior junior; serious funny; shiny dull; simple \
    complex=complicated; single double=married; single multiple; slim fat; smooth bumpy; solid liquid gaseous; sober drunk; soft \
    loud; static dynamic; straight curved=crooked; strict lenient; strong weak; stronger weaker; sunny rainy cloudy snowy windy; \
    rainy dry; tame wild; tired rested; transparent opaque; true false; useful useless; vertical horizontal; voluntary compulsory; \
    weak strong; wrong right; worthless valuable; wet dry; positive negative neutral; sync async; synchronous asynchronous; local \
    remote global; online offline; digital analogue=analog; manual automatic; primary secondary; mutable immutable; stable unstable; \
    lossy lossless; always never; often seldom; seldom often; sometimes always; together alone apart; everywhere nowhere; maybe \
    certainly; almost exactly; partly fully; hardly fully; early late; earlier later; before after; again never; with without; above \
    below; over under; up down; on off; in out; toward away; towards away; against for; despite because; genehmigt abgelehnt; \
    bewilligt abgelehnt; erlaubt verboten; gewonnen verloren; gekauft verkauft; gross klein; alt neu=jung; heiss kalt warm; gut \
    schlecht; arm reich; links rechts; oben unten; offen geschlossen; voll leer; schnell langsam; richtig falsch; laut leise; hell \
    dunkel; krank gesund; teuer billig; schwer leicht; lang kurz; hoch niedrig tief; innen aussen; vorher nachher; heute morgen \
    gestern; schwarz weiss rot grun blau gelb; mann frau; junge madchen; bruder schwester; vater mutter; sohn tochter; hund katze \
    pferd; schuldig unschuldig; geoffnet geschlossen; erhoht gesenkt; steigt fallt=sinkt; gestiegen gefallen=gesunken; bestanden \
    durchgefallen; angenommen abgelehnt; accepte refuse; autorise interdit; permis interdit; gagne perdu; achete vendu; grand petit; \
    vieux jeune=nouveau; chaud froid; bon mauvais; riche pauvre; gauche droite; haut bas; ouvert ferme; plein vide; rapide lent; \
    vrai faux; fort faible; clair sombre; malade sain; cher gratuit; lourd leger; long court; homme femme; frere soeur; pere mere; \
    fils fille; noir blanc rouge vert bleu jaune; hier demain; coupable innocent; augmente diminue=baisse; monte descend; entre \
    sort; chien chat cheval; aceptado rechazado; permitido prohibido; ganado perdido; comprado vendido; grande pequeno; viejo \
    joven=nuevo; caliente frio; bueno malo; rico pobre; izquierda derecha; alto bajo; abierto cerrado; lleno vacio; rapido lento; \
    verdadero falso; fuerte debil; claro oscuro; enfermo sano; caro barato; pesado ligero; largo corto; hombre mujer; hermano \
    hermana; padre madre; hijo hija; negro blanco rojo verde azul amarillo; ayer manana; culpable inocente; aumenta disminuye; sube \
    baja; perro gato caballo; accettato rifiutato; permesso vietato; vinto perso; comprato venduto; piccolo grande; vecchio \
    giovane=nuovo; caldo freddo; buono cattivo; ricco povero; sinistra destra; aperto chiuso; pieno vuoto; veloce lento; vero falso; \
    uomo donna; fratello sorella; rosso verde blu giallo nero bianco; ieri domani; aumenta diminuisce; разрешено запрещено; можно \
    нельзя; купил продал; большои маленькии; старыи новыи=молодои; хорошии плохои; горячии холодныи; левыи правыи; вверх вниз; \
    открыт закрыт; да нет; мужчина женщина; брат сестра; вырос упал; выиграл проиграл; черныи белыи красныи синии зеленыи";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Numbers, normalise};

    #[test]
    fn opposites_and_units_exclude_each_other_and_synonyms_do_not() {
        let exclude = |a: &str, b: &str| exclude_each_other(hash(a.as_bytes()), hash(b.as_bytes()));
        for (a, b) in [
            ("mg", "ml"),
            ("buy", "rent"),
            ("rot", "blau"),
            ("am", "pm"),
            ("poor", "wealthy"),
            ("violin", "viola"),
            ("crocodile", "alligator"),
        ] {
            assert!(exclude(a, b) && exclude(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("rich", "wealthy"),
            ("sad", "unhappy"),
            ("river", "stream"),
            ("violin", "fiddle"),
            ("mg", "red"),
            ("red", "red"),
        ] {
            assert!(!exclude(a, b), "{a} {b}");
        }
    }

    #[test]
    fn words_are_written_as_they_are_compared() {
        let words = GROUPS.split([';', ' ', '=']);
        for word in words.filter(|word| !word.is_empty()) {
            assert_eq!(normalise(word, Numbers::Kept), word);
        }
    }
}
